"""A pre-training small enough for a test."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ProgressBar

from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.callbacks.checkpoints import LastCheckpoint
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.heads.contrastive import InfoNCEHead
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.methods.templates import TemplateOptions
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.pretrain import PretrainTask

TEMPLATES = TemplateOptions(shape=(24, 24, 24), lr_scale=10.0)


def small_task(**method: Any) -> PretrainTask:
    """All three losses on a network without batch statistics."""
    pl.seed_everything(5, verbose=False)
    options: dict[str, Any] = {
        "masking": GridBlocks(block_size=4, ratio=0.75),
        "templates": TEMPLATES,
        "contrast": partial(InfoNCEHead, temperature=0.5, projector_width=4),
    }
    return PretrainTask(
        backbone=partial(UNET3D, widths=(8, 16), depths=(1, 1)),
        method=partial(BrainMVP, **{**options, **method}),
        optimizer=AdamWOptions(learning_rate=1e-3),
    )


def small_data(cache: Path, **options: Any) -> PretrainDataModule:
    """Crops of 16^3, three studies in two batches and a bit."""
    defaults: dict[str, Any] = {"crop_size": (16, 16, 16), "batch_size": 2, "num_workers": 0}
    return PretrainDataModule(str(cache), **{**defaults, **options})


class LossRecord(Callback):
    """Keeps the loss of each training step, by global step."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Note the loss that the step was made with."""
        outputs = args[1]
        self.losses[trainer.global_step] = float(outputs["loss"])


def small_trainer(folder: Path, *callbacks: Callback, epochs: int = 3) -> pl.Trainer:
    """A quiet trainer that writes a checkpoint after every step."""
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        callbacks=[LastCheckpoint(every_steps=1), *callbacks],
    )
