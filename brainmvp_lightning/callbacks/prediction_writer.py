"""Predictions of a run as files on the grids of the images they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from brainmvp_lightning.batches import FileGeometry, StudyGeometry, VolumeBatch
from brainmvp_lightning.inference.decisions import Labelling
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.inference.records import Maker, source_of, write_study
from brainmvp_lightning.inference.writing import StudyPrediction, Target
from brainmvp_lightning.studies.labels import find_scheme, label_schemes
from brainmvp_lightning.tasks.agreement import recipe_differences
from brainmvp_lightning.tasks.base import SetupError


class PredictionWriter(Callback):
    """Writes what ``predict_step`` returns to ``predictions/`` in the run folder.

    A segmentation becomes ``<study>_seg.nii.gz`` with ``<study>_seg.json``, a classification
    ``<study>_class.json``. The JSON file has the entries of that of ``brainmvp segment``: what the
    values mean, the checkpoint with its SHA-256, the windows, and faults of the study. Each process
    writes its own studies; those that only fill up the uneven end are left out, and so are those
    without readable images. Predictions are not kept in memory.

    Args:
        probabilities: Whether ``<study>_prob-<output>.nii.gz`` is written for each output.
        grid: Whose voxels: a modality, ``label`` for the annotation, or ``first`` for the first
            channel that the study has. A study without that file takes the first.
        label_scheme: Whose values labels have, such as brats2023; by default those of the
            annotations that the network learned from, or 0, 1, ... if these had different ones. The
            JSON file names them.
        folder: Where files go; relative to the run folder.
    """

    def __init__(
        self,
        probabilities: bool = False,
        grid: str = "first",
        label_scheme: str | None = None,
        folder: str = "predictions",
    ) -> None:
        self.probabilities = probabilities
        self.grid = grid
        self.label_scheme = label_scheme
        self.folder = folder
        self._maker: Maker | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check what was asked for before any work.

        Raises:
            SetupError: If there is no network, modality or label scheme, or they do not fit.
        """
        trainer.predict_loop.return_predictions = False  # volumes of all studies would pile up
        model = _model_of(pl_module)
        if self.grid not in ("first", "label", *model.description.modalities):
            known = ", ".join(("first", "label", *model.description.modalities))
            raise SetupError(f"there is no grid {self.grid!r} to write predictions on ({known})")
        data: Any = getattr(trainer, "datamodule", None)
        notes = [] if data is None else recipe_differences(model.description, data.describe())
        checkpoint = trainer.ckpt_path
        self._maker = Maker(
            model=model,
            source=source_of(None if checkpoint is None else str(checkpoint)),
            windows=getattr(pl_module, "window", None),
            labelling=self._labelling(trainer, model),
            probabilities=self.probabilities,
            notes=tuple(notes),
        )

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Sequence[StudyPrediction],
        batch: VolumeBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the studies of a batch, each once."""
        del pl_module, batch_idx, dataloader_idx
        assert self._maker is not None  # Lightning calls on_predict_start first
        rows = zip(batch["study"], batch["weight"].tolist(), strict=True)
        counted = {study for study, weight in rows if weight > 0}
        folder = Path(trainer.default_root_dir) / self.folder
        cache = getattr(getattr(trainer, "datamodule", None), "cache_path", None)
        for study, prediction in {output.study: output for output in outputs}.items():
            if study in counted:
                file = _choose_grid(prediction.geometry, self.grid)
                target = Target(file, relative_to=cache)
                write_study(prediction, self._maker, target, folder)

    def _labelling(self, trainer: pl.Trainer, model: FineTunedModel) -> Labelling | None:
        if model.task == "classification":
            return None
        if self.label_scheme is None:
            return Labelling.of(model.description)
        cache: Any = getattr(getattr(trainer, "datamodule", None), "cache", None)
        schemes = {**label_schemes(), **getattr(cache, "label_schemes", {})}
        try:
            return Labelling.of(model.description, find_scheme(self.label_scheme, schemes))
        except ValueError as error:
            raise SetupError(str(error)) from error


def _model_of(module: pl.LightningModule) -> FineTunedModel:
    model = getattr(module, "model", None)
    if not isinstance(model, FineTunedModel):
        raise SetupError(
            f"there is no fine-tuned network in {type(module).__name__} to predict with; give a "
            "checkpoint of a fine-tuning run with --ckpt_path"
        )
    return model


def _choose_grid(geometry: StudyGeometry, grid: str) -> FileGeometry:
    if grid == "label" and geometry["label"] is not None:
        return geometry["label"]
    named = [file for file in geometry["scans"] if file["modality"] == grid]
    return (named or geometry["scans"])[0]
