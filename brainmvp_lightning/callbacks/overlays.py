"""Pictures of what a segmentation finds in validation studies, beside what was annotated."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray

from brainmvp_lightning.batches import VolumeBatch
from brainmvp_lightning.callbacks.drawing import DrawnCase, draw_cases
from brainmvp_lightning.callbacks.picture_series import PictureSeries
from brainmvp_lightning.inference.writing import without_padding
from brainmvp_lightning.tasks.segmentation import SeenCase, SegmentationTask

_BACKGROUNDS = ("flair", "t1ce", "t2")  # lesions show best on these


class OverlayPictures(PictureSeries):
    """Draws image, annotation and prediction of validation studies, the first and the worst ones.

    Files go to ``pictures/`` in the run folder, and to loggers that take images. They name no
    study. With several processes, the studies are those of the first one.

    Args:
        every_epochs: Epochs between two pictures; the last validation is always drawn.
        max_cases: Studies in a picture: half of them the first, which are the same each time, half
            of them those with the lowest Dice.
        modality: What is drawn; by default FLAIR, or else another one that the study has.
        every_seconds: Least time between two pictures.
        max_files: Most files of the kind; older ones are thinned evenly.

    Raises:
        ValueError: If one of them is too small.
    """

    kind = "overlay"

    def __init__(
        self,
        every_epochs: int = 1,
        max_cases: int = 4,
        modality: str | None = None,
        every_seconds: float = 30.0,
        max_files: int = 50,
    ) -> None:
        super().__init__(every_epochs, every_seconds, max_files)
        if max_cases < 1:
            raise ValueError(f"OverlayPictures has max_cases {max_cases}; it must be at least 1")
        self.max_cases = max_cases
        self.modality = modality
        self._is_due = False
        self._first: list[DrawnCase] = []
        self._worst: list[DrawnCase] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See whether it is time."""
        self._is_due = isinstance(pl_module, SegmentationTask) and self.is_due(trainer)
        self._first, self._worst = [], []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 - what a task returns
        batch: Any,  # noqa: ANN401 - any batch
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a slice of each study that may be drawn."""
        del trainer, batch_idx, dataloader_idx
        if not self._is_due or not isinstance(pl_module, SegmentationTask):
            return
        names = pl_module.scored.description.modalities
        for case in (outputs or {}).get("cases", ()):
            if len(self._first) < self._num_first:
                self._first.append(_slice(batch, case, names, self.modality))
            elif self._is_among_worst(case.dice):
                self._worst.append(_slice(batch, case, names, self.modality))
                self._worst.sort(key=lambda kept: kept.dice)
                del self._worst[self.max_cases - self._num_first :]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw what was kept."""
        cases = [*self._first, *self._worst]
        if self._is_due and cases and isinstance(pl_module, SegmentationTask):
            regions = pl_module.scored.description.region_names
            self.publish(trainer, partial(draw_cases, cases, regions=regions))
        self._first, self._worst = [], []

    @property
    def _num_first(self) -> int:
        return (self.max_cases + 1) // 2

    def _is_among_worst(self, dice: float) -> bool:
        room = self.max_cases - self._num_first
        return len(self._worst) < room or (room > 0 and dice < self._worst[-1].dice)


def _slice(
    batch: VolumeBatch, case: SeenCase, names: tuple[str, ...], modality: str | None
) -> DrawnCase:
    """Return the axial slice with most annotation; with most prediction where there is none."""
    present = batch["present"][case.row].tolist()
    there = [name for name, is_there in zip(names, present, strict=True) if is_there]
    shown_first = [name for name in (modality, *_BACKGROUNDS) if name in there]
    channel = names.index((shown_first or there)[0])
    image = batch["image"][case.row, channel][None]
    image = without_padding(image, batch["start"][case.row], batch["geometry"][case.row])[0]
    shown = case.truth if bool(case.truth.any()) else case.prediction
    counts = shown.any(dim=0).sum(dim=(0, 1))
    z = int(counts.argmax()) if bool(counts.any()) else image.shape[2] // 2

    def cut(volume: torch.Tensor) -> NDArray[Any]:
        return np.asarray(volume[..., z].float().cpu())

    return DrawnCase(
        image=cut(image),
        truth=cut(case.truth) > 0,
        prediction=cut(case.prediction) > 0,
        dice=case.dice,
        modality=names[channel],
    )
