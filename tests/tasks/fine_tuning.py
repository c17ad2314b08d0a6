"""A fine-tuning small enough for a test."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.datamodules.classification import ClassificationDataModule
from brainmvp_lightning.datamodules.segmentation import SegmentationDataModule
from brainmvp_lightning.losses.segmentation import SegmentationLossOptions
from brainmvp_lightning.tasks.classification import ClassificationTask
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from brainmvp_lightning.weights.export import write_weights

MODALITIES = ("t1", "t2", "flair", "t1ce")
BACKBONE = partial(UNET3D, widths=(8, 16), depths=(1, 1))
QUIET = [
    pytest.mark.filterwarnings("ignore:.*studies are left out.*"),
    pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*"),
    pytest.mark.filterwarnings("ignore:.*no test study is of class.*"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*"),
]


def segmentation_task(**options: Any) -> SegmentationTask:
    """Two levels, without batch statistics; no deep supervision."""
    pl.seed_everything(3, verbose=False)
    defaults: dict[str, Any] = {
        "loss": SegmentationLossOptions(auxiliary=()),
        "optimizer": AdamWOptions(learning_rate=1e-2),
    }
    return SegmentationTask(BACKBONE, **{**defaults, **options})


def classification_task(**options: Any) -> ClassificationTask:
    """The same for classes."""
    pl.seed_everything(3, verbose=False)
    return ClassificationTask(BACKBONE, **options)


def segmentation_data(cache: Path, **options: Any) -> SegmentationDataModule:
    """The tumours of the labelled cohort, in crops of 16^3."""
    defaults: dict[str, Any] = {
        "datasets": ["tumour"],
        "modalities": list(MODALITIES),
        "crop_size": (16, 16, 16),
        "batch_size": 2,
        "num_workers": 0,
    }
    return SegmentationDataModule(str(cache), **{**defaults, **options})


def classification_data(cache: Path, **options: Any) -> ClassificationDataModule:
    """High and low grades, resized to 16^3 and cropped to 8^3."""
    defaults: dict[str, Any] = {
        "classes": ["LGG", "HGG"],
        "modalities": list(MODALITIES),
        "resized_to": (16, 16, 16),
        "crop_size": (8, 8, 8),
        "batch_size": 2,
        "num_workers": 0,
    }
    return ClassificationDataModule(str(cache), **{**defaults, **options})


def trainer(folder: Path, *callbacks: Callback, steps: int = 2, **options: Any) -> pl.Trainer:
    """A quiet trainer of a few steps."""
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **options,
    )


def write_encoder(path: Path, modalities: tuple[str, ...] = (*MODALITIES, "pd")) -> Path:
    """Write an encoder file with templates: each shows a box of its own grey."""
    torch.manual_seed(11)
    backbone = BACKBONE(1)
    templates = torch.zeros(len(modalities), 32, 32, 32)
    for number in range(len(modalities)):
        templates[number, 4:28, 4:28, 4:28] = 0.1 * (number + 1)
    affine = np.eye(4)
    affine[:3, 3] = -16
    manifest = {
        "backbone": {"class": "brainmvp_lightning.backbones.unet3d.UNET3D"},
        "templates": {"modalities": list(modalities), "affine": affine.tolist()},
    }
    tensors = {f"encoder.{name}": value for name, value in backbone.state_dict().items()}
    write_weights(path, {**tensors, "templates": templates}, manifest)
    return path
