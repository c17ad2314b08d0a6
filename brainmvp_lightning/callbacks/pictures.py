"""Pictures of what the method sees and makes, and of what its templates have become."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning.callbacks.drawing import draw_slices
from brainmvp_lightning.callbacks.picture_series import PictureSeries
from brainmvp_lightning.callbacks.run_facts import is_trial
from brainmvp_lightning.volumes.nifti import write_nifti


class ReconstructionPictures(PictureSeries):
    """Draws input, masked views and reconstructions after validation.

    Files go to ``pictures/`` in the run folder, and to loggers that take images.

    Args:
        every_epochs: Epochs between two pictures; the last validation is always drawn.
        max_rows: Samples in a picture.
        every_seconds: Least time between two pictures.
        max_files: Most files of the kind; older ones are thinned evenly.
    """

    kind = "reconstruction"

    def __init__(
        self,
        every_epochs: int = 1,
        max_rows: int = 4,
        every_seconds: float = 30.0,
        max_files: int = 50,
    ) -> None:
        super().__init__(every_epochs, every_seconds, max_files)
        self.max_rows = max_rows

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, unless it is not yet time."""
        pictures: dict[str, Any] = getattr(pl_module, "pictures", {})
        if not pictures or not self.is_due(trainer):
            return
        columns = list(pictures)
        volumes = [pictures[name][: self.max_rows, 0].float().numpy() for name in columns]
        rows = list(zip(*volumes, strict=True))
        self.publish(trainer, partial(draw_slices, rows, columns=columns))


class TemplatePictures(PictureSeries):
    """Draws the modality templates, and writes them as NIfTI in their true geometry.

    Files go to ``pictures/`` and ``templates/`` in the run folder.

    Args:
        every_epochs: Epochs between two pictures; the end of training always counts.
        every_seconds: Least time between two pictures.
        max_files: Most files of the kind; older ones are thinned evenly.
    """

    kind = "templates"

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, unless it is not yet time."""
        if self.is_due(trainer):
            self._draw(trainer, pl_module)

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the last state and write the volumes."""
        if is_trial(trainer):
            return
        self._draw(trainer, pl_module, "last")
        templates: Any = getattr(getattr(pl_module, "method", None), "templates", None)
        if templates is None:
            return
        folder = Path(trainer.default_root_dir) / "templates"
        folder.mkdir(parents=True, exist_ok=True)
        volumes = templates.volumes().float().cpu().numpy()
        for name, volume in zip(templates.modalities, volumes, strict=True):
            write_nifti(folder / f"{name}.nii.gz", volume, templates.affine().cpu().numpy())

    def _draw(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, word: str | None = None
    ) -> None:
        templates: Any = getattr(getattr(pl_module, "method", None), "templates", None)
        if templates is None:
            return
        volumes = np.asarray(templates.volumes().float().cpu())
        columns = list(templates.modalities)
        draw = partial(draw_slices, [list(volumes)], columns=columns, limits=None)
        self.publish(trainer, draw, word)
