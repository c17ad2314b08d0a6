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
from brainmvp_lightning.inference.writing import (
    StudyPrediction,
    Target,
    classification_facts,
    segmentation_facts,
    write_facts,
    write_segmentation,
)
from brainmvp_lightning.studies.labels import find_scheme, label_schemes
from brainmvp_lightning.tasks.base import SetupError


class PredictionWriter(Callback):
    """Writes what ``predict_step`` returns to ``predictions/`` in the run folder.

    A segmentation becomes ``<study>_seg.nii.gz`` with ``<study>_seg.json``, a classification
    ``<study>_class.json``. Each process writes its own studies; those that only fill up the uneven
    end are left out, and so are those without readable images. Predictions are not kept in memory.

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
        if model.task == "segmentation":
            try:
                self._labelling(trainer, model)
            except ValueError as error:
                raise SetupError(str(error)) from error

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
        del batch_idx, dataloader_idx
        rows = zip(batch["study"], batch["weight"].tolist(), strict=True)
        counted = {study for study, weight in rows if weight > 0}
        for study, prediction in {output.study: output for output in outputs}.items():
            if study in counted:
                self._write(prediction, _model_of(pl_module), trainer)

    def _write(
        self, prediction: StudyPrediction, model: FineTunedModel, trainer: pl.Trainer
    ) -> None:
        folder = Path(trainer.default_root_dir) / self.folder
        if model.task == "classification":
            facts = classification_facts(prediction, model)
            write_facts(folder / f"{prediction.study}_class.json", facts)
            return
        labelling = self._labelling(trainer, model)
        target = Target(_choose_grid(prediction.geometry, self.grid))
        names = model.output_names if self.probabilities else ()
        write_segmentation(prediction, target, labelling, folder, names)
        facts = segmentation_facts(prediction, model, labelling, target)
        cache = getattr(getattr(trainer, "datamodule", None), "cache_path", None)
        facts["reference"]["relative_to"] = cache
        write_facts(folder / f"{prediction.study}_seg.json", facts)

    def _labelling(self, trainer: pl.Trainer, model: FineTunedModel) -> Labelling:
        if self.label_scheme is None:
            return Labelling.of(model.description)
        cache: Any = getattr(getattr(trainer, "datamodule", None), "cache", None)
        schemes = {**label_schemes(), **getattr(cache, "label_schemes", {})}
        return Labelling.of(model.description, find_scheme(self.label_scheme, schemes))


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
