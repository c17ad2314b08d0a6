"""Pictures of what the method sees and makes, and of what its templates have become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning.callbacks.drawing import draw_slices
from brainmvp_lightning.volumes.nifti import write_nifti


class ReconstructionPictures(Callback):
    """Draws input, masked views and reconstructions after validation.

    Files go to ``pictures/`` in the run folder, and to loggers that take images.

    Args:
        every_epochs: Epochs between two pictures; the last validation is always drawn.
        max_rows: Samples in a picture.
    """

    def __init__(self, every_epochs: int = 1, max_rows: int = 4) -> None:
        self.every_epochs = every_epochs
        self.max_rows = max_rows

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, unless it is not yet time."""
        pictures: dict[str, Any] = getattr(pl_module, "pictures", {})
        epoch = trainer.current_epoch + 1
        is_last = epoch >= (trainer.max_epochs or 0)
        if trainer.sanity_checking or not pictures or (epoch % self.every_epochs and not is_last):
            return
        columns = list(pictures)
        volumes = [pictures[name][: self.max_rows, 0].float().numpy() for name in columns]
        path = Path(trainer.default_root_dir) / "pictures" / f"reconstruction_{epoch:04d}.png"
        draw_slices(list(zip(*volumes, strict=True)), path, columns=columns)
        send_picture(trainer, "pictures/reconstruction", path)


class TemplatePictures(Callback):
    """Draws the modality templates, and writes them as NIfTI in their true geometry.

    Files go to ``pictures/`` and ``templates/`` in the run folder.

    Args:
        every_epochs: Epochs between two pictures; the end of training always counts.
    """

    def __init__(self, every_epochs: int = 1) -> None:
        self.every_epochs = every_epochs

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, unless it is not yet time."""
        epoch = trainer.current_epoch + 1
        if not trainer.sanity_checking and epoch % self.every_epochs == 0:
            self._draw(trainer, pl_module, f"templates_{epoch:04d}.png")

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the last state and write the volumes."""
        self._draw(trainer, pl_module, "templates_last.png")
        templates: Any = getattr(getattr(pl_module, "method", None), "templates", None)
        if templates is None:
            return
        folder = Path(trainer.default_root_dir) / "templates"
        folder.mkdir(parents=True, exist_ok=True)
        volumes = templates.volumes().float().cpu().numpy()
        for name, volume in zip(templates.modalities, volumes, strict=True):
            write_nifti(folder / f"{name}.nii.gz", volume, templates.affine().cpu().numpy())

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule, file: str) -> None:
        templates: Any = getattr(getattr(pl_module, "method", None), "templates", None)
        if templates is None:
            return
        volumes = np.asarray(templates.volumes().float().cpu())
        path = Path(trainer.default_root_dir) / "pictures" / file
        draw_slices([list(volumes)], path, columns=list(templates.modalities), limits=None)
        send_picture(trainer, "pictures/templates", path)


def send_picture(trainer: pl.Trainer, name: str, path: Path) -> None:
    """Hand a PNG to each logger of the trainer that takes images."""
    from matplotlib.image import imread

    loggers: list[Any] = trainer.loggers
    for logger in loggers:
        if hasattr(logger, "log_image"):  # wandb
            logger.log_image(name, [str(path)], step=trainer.global_step)
        elif hasattr(getattr(logger, "experiment", None), "add_image"):  # TensorBoard
            pixels = imread(path)[..., :3]
            logger.experiment.add_image(name, pixels, trainer.global_step, dataformats="HWC")
