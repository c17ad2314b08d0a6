"""Small volumes of the cases that a test went worst on, for a report to show."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from brainmvp_lightning.batches import VolumeBatch
from brainmvp_lightning.callbacks.run_facts import is_trial
from brainmvp_lightning.evaluation.tables import CaseScore
from brainmvp_lightning.inference.decisions import Labelling
from brainmvp_lightning.inference.writing import without_padding
from brainmvp_lightning.tasks.gathering import gather_rows
from brainmvp_lightning.tasks.rows import scored_rows
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.volumes.nifti import write_nifti

_FACTS = "case.json"
_BACKGROUNDS = ("flair", "t1ce", "t2")  # lesions show best on these


@dataclass(frozen=True, eq=False)
class KeptCase:
    """One case as it is kept in memory: bytes for voxels.

    Attributes:
        study: Its id.
        rank: Lower is worse: mean Dice of its regions, then the more annotated volume the worse.
        facts: What ``case.json`` says.
        volumes: ``x y z``, uint8, by the name of the file.
        affine: Voxel index to world millimetres.
    """

    study: str
    rank: tuple[float, float, str]
    facts: dict[str, Any]
    volumes: dict[str, NDArray[np.uint8]]
    affine: NDArray[np.float64]


class CaseVolumes(Callback):
    """Keeps the worst cases of a segmentation test in ``test/volumes/<case>/``.

    ``image.nii.gz`` is FLAIR, or else another modality of the study; ``label.nii.gz`` the
    annotation and ``prediction.nii.gz`` the answer to all modalities, in classes 0, 1, ... that
    ``case.json`` names. They lie on the grid of the cache, every second or third voxel if that is
    needed to keep them small. Cases that join the worst ones are predicted a second time. Each
    process keeps its own, the first one writes the worst of all.

    Args:
        worst: How many cases; 0 keeps none.
        longest_edge: Most voxels along an axis.
    """

    def __init__(self, worst: int = 3, longest_edge: int = 160) -> None:
        self.worst = worst
        self.longest_edge = longest_edge
        self._kept: list[KeptCase] = []

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the cases of an earlier test."""
        del trainer, pl_module
        self._kept = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's
        batch: VolumeBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the studies of a batch that are among the worst until now."""
        del outputs, batch_idx, dataloader_idx
        if not isinstance(pl_module, SegmentationTask) or self.worst < 1 or "label" not in batch:
            return
        for row in scored_rows(batch):
            scores = _scores_of(batch, row, pl_module)
            if scores and self._is_among_worst(_rank(scores)):
                with trainer.precision_plugin.forward_context():
                    answer = pl_module.predict_row(batch, row, batch["present"][row])
                case = self._keep(batch, row, answer, scores, pl_module)
                self._kept = worst_of([*self._kept, case], self.worst)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the worst cases of all processes in place of those of an earlier test."""
        if not isinstance(pl_module, SegmentationTask):
            return
        kept = worst_of(gather_rows(self._kept), self.worst)
        self._kept = []
        if trainer.is_global_zero and not is_trial(trainer):
            write_case_volumes(Path(trainer.default_root_dir) / "test" / "volumes", kept)

    def _is_among_worst(self, rank: tuple[float, float, str]) -> bool:
        return len(self._kept) < self.worst or rank < self._kept[-1].rank

    def _keep(
        self,
        batch: VolumeBatch,
        row: int,
        answer: Tensor,
        scores: Sequence[CaseScore],
        task: SegmentationTask,
    ) -> KeptCase:
        geometry, start = batch["geometry"][row], batch["start"][row]
        description = task.scored.description
        labelling = Labelling.of(replace(description, label_values=()))
        label = without_padding(batch["label"][row], start, geometry).cpu().numpy()
        truth = labelling(label.astype(np.float32)) if description.overlapping else label[0]
        modality = _background(task.names_of(batch["present"][row]))
        image = without_padding(batch["image"][row], start, geometry)
        shown = image[description.modalities.index(modality)].float().cpu().numpy()
        step = math.ceil(max(shown.shape) / self.longest_edge)
        volumes = {
            "image": np.rint(255 * shown.clip(0, 1)),
            "label": truth,
            "prediction": labelling(answer.float().cpu().numpy()),
        }
        return KeptCase(
            study=batch["study"][row],
            rank=_rank(scores),
            facts={
                "modality": modality,
                "names": list(labelling.names),
                "dice": {row.region: _or_none(row.dice) for row in scores},
            },
            volumes={name: _thin(volume, step) for name, volume in volumes.items()},
            affine=np.asarray(geometry["affine"]) @ np.diag([step, step, step, 1.0]),
        )


def worst_of(cases: Sequence[KeptCase], count: int) -> list[KeptCase]:
    """Return the worst cases, the worst one first; the order they come in does not matter."""
    return sorted(cases, key=lambda case: case.rank)[:count]


def write_case_volumes(folder: Path, cases: Sequence[KeptCase]) -> None:
    """Write cases in place of those of an earlier test.

    Raises:
        OSError: If they cannot be written.
    """
    for old in folder.glob(f"*/{_FACTS}"):
        shutil.rmtree(old.parent)
    for case in cases:
        target = folder / case.study
        target.mkdir(parents=True, exist_ok=True)
        for name, volume in case.volumes.items():
            write_nifti(target / f"{name}.nii.gz", volume, case.affine)
        write_bytes(target / _FACTS, json.dumps(case.facts, indent=1).encode())


def _scores_of(batch: VolumeBatch, row: int, task: SegmentationTask) -> list[CaseScore]:
    """Return what the test said of a study with all its modalities."""
    study, names = batch["study"][row], "+".join(task.names_of(batch["present"][row]))
    return [case for case in task.cases if (case.study, case.modalities) == (study, names)]


def _rank(scores: Sequence[CaseScore]) -> tuple[float, float, str]:
    dice = [score.dice for score in scores if not math.isnan(score.dice)]
    mean = sum(dice) / len(dice) if dice else 1.0
    return mean, -sum(score.truth_ml for score in scores), scores[0].study


def _background(present: Sequence[str]) -> str:
    return next((name for name in _BACKGROUNDS if name in present), present[0])


def _thin(volume: NDArray[Any], step: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(volume[::step, ::step, ::step], dtype=np.uint8)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
