"""Small fine-tuned models of both tasks."""

import torch

from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.inference.model import FineTunedModel, ModelTask
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates

BACKBONE = {"class_path": "unet3d", "init_args": {"widths": [4, 8], "depths": [1, 1]}}
MODALITIES = ("t1", "flair")


def description(task: ModelTask, *, overlapping: bool = False) -> LabelledDescription:
    """Crops of 8^3: of volumes at 1 mm, or of studies resized to 10^3 that are classified."""
    segments = task == "segmentation"
    return LabelledDescription(
        modalities=MODALITIES,
        spacing_mm=(1.0, 1.0, 1.0),
        centre_mm=(0.0, 0.0, 0.0),
        crop_size=(8, 8, 8),
        num_outputs=3 if segments and not overlapping else 2,
        region_names=("whole", "core") if segments else (),
        overlapping=overlapping,
        label_names=("background", "oedema", "core") if segments else (),
        label_regions=((), ("whole",), ("whole", "core")) if segments else (),
        resized_to=None if segments else (10, 10, 10),
        class_names=() if segments else ("healthy", "ill"),
        clip={"lower": 5.0, "upper": 95.0, "over": "foreground"},
        recipe={"spacing_mm": 1.0, "foreground": "auto"},
    )


def fine_tuned(
    task: ModelTask = "segmentation", *, overlapping: bool = False, templates: bool = False
) -> FineTunedModel:
    """A network of random weights, in eval mode."""
    torch.manual_seed(3)
    head = "residual_unet" if task == "segmentation" else "pooled"
    images = torch.rand(len(MODALITIES), 8, 8, 8)
    stand_in = FrozenTemplates(MODALITIES, images, (1.0,) * 3, (0.0,) * 3) if templates else None
    model = FineTunedModel(
        backbone=BACKBONE,
        head={"class_path": head, "init_args": {}},
        description=description(task, overlapping=overlapping),
        task=task,
        templates=stand_in,
    )
    return model.eval()


def images(seed: int = 1) -> torch.Tensor:
    """One study, ``1 c x y z``."""
    return torch.rand(1, len(MODALITIES), 8, 8, 8, generator=torch.Generator().manual_seed(seed))
