"""Classification of studies with aligned modalities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_f1_score,
)

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import LabelledBatch, LabelledDescription, VolumeBatch
from brainmvp_lightning.evaluation.class_tables import ClassScore
from brainmvp_lightning.evaluation.classification import summarise_classes
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.inference.model import Answer
from brainmvp_lightning.losses.precision import at_least_float32
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.tasks.copies import TrainingViews
from brainmvp_lightning.tasks.finetune import FineTuneTask
from brainmvp_lightning.tasks.gathering import gather_rows
from brainmvp_lightning.tasks.rows import scored_rows


class ClassificationTask(FineTuneTask):
    """Sorts studies into classes; options beside these are those of `FineTuneTask`.

    Args:
        backbone: See `FineTuneTask`.
        head: See `FineTuneTask`.
        class_weights: Whether rare classes count more in the loss, by their inverse frequency.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        options: See `FineTuneTask`.

    Source:
        BrainMVP, section 4.3 and supplement B.3.
    """

    kind = "classification"
    monitor = "val/auc"

    def __init__(
        self,
        backbone: Callable[[int], Backbone],
        head: Callable[[Backbone, int], TaskHead] | None = None,
        *,
        class_weights: bool = True,
        label_smoothing: float = 0.0,
        **options: Any,  # noqa: ANN401 - handed through
    ) -> None:
        super().__init__(backbone, head, **options)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"model.label_smoothing is a share in [0, 1), got {label_smoothing}")
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self._answers: list[tuple[int, list[float]]] = []

    def check_description(self, description: LabelledDescription) -> None:
        """See that there are classes."""
        if len(description.class_names) < 2:
            raise SetupError(
                "ClassificationTask needs studies with classes, which these data do not have; use "
                "ClassificationDataModule, or SegmentationTask for annotations"
            )

    def check(self, data: Any, *, validates: bool) -> None:  # noqa: ANN401 - any data module
        """Look at data and weights, and build the network.

        Raises:
            ValueError: If they do not suit each other, or the validation lacks a class.
        """
        super().check(data, validates=validates)
        missing = _missing_classes(data, "test")
        if missing:
            rank_zero_warn(
                f"no test study is of class {', '.join(missing)}, so AUC and F1 of a test will be "
                "undefined; move some there with the column 'split'"
            )
        missing = _missing_classes(data, "val") if validates else []
        if missing:
            raise SetupError(
                f"no validation study is of class {', '.join(missing)}, so {self.monitor} cannot "
                "be computed; move some there with the column 'split', correct data.classes, or "
                "skip validation with --trainer.limit_val_batches 0"
            )

    def supervise(
        self, answer: Answer, batch: LabelledBatch, views: TrainingViews, share: Tensor
    ) -> dict[str, Tensor]:
        """Return the cross entropy over all copies."""
        target = batch["target_class"].repeat(views.num_copies)
        logits = at_least_float32(answer.logits[0])
        weights = None
        if self.class_weights:
            weights = torch.tensor(self.scored.description.class_weights).to(logits)
        losses = functional.cross_entropy(
            logits,
            target.clamp(min=0),
            weight=weights,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        total = (torch.where((share > 0) & (target >= 0), losses, 0.0) * share).sum()
        return {"cross_entropy": total, "total": total}

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._answers = []

    def validation_step(self, batch: VolumeBatch, batch_idx: int) -> None:
        """Keep the probabilities of each study."""
        del batch_idx
        self.report_faults(batch)
        for row in scored_rows(batch):
            probabilities = self.predict_row(batch, row, batch["present"][row])
            self._answers.append((int(batch["target_class"][row]), probabilities.tolist()))

    def on_validation_epoch_end(self) -> None:
        """Log the metrics over the studies of all processes."""
        answers = gather_rows(self._answers)
        if not answers:  # no study could be read
            self.log("val/auc", float("nan"))
            return
        target = torch.tensor([truth for truth, _ in answers])
        probabilities = torch.tensor([values for _, values in answers])
        k = probabilities.shape[1]
        f1 = multiclass_f1_score(probabilities, target, k, average="none")
        metrics = {
            "auc": multiclass_auroc(probabilities, target, k),
            "accuracy": multiclass_accuracy(probabilities, target, k, average="micro"),
            "f1": f1[-1] if k == 2 else f1.mean(),  # of the positive class, the last one
            "cross_entropy": functional.nll_loss(probabilities.clamp(min=1e-7).log(), target),
        }
        for name, value in metrics.items():
            self.log(f"val/{name}", value, prog_bar=name == "auc")

    def score(self, batch: VolumeBatch, row: int, present: Tensor) -> list[ClassScore]:
        """Return the answer for a study, as a row of the table."""
        description = self.scored.description
        probabilities = self.predict_row(batch, row, present)
        record = self.record_of(batch, row)
        return [
            ClassScore.of(
                probabilities.tolist(),
                description.class_names,
                truth=description.class_names[int(batch["target_class"][row])],
                study=record.id,
                dataset=record.dataset,
                modalities=self.names_of(present),
                split=record.split,
            )
        ]

    def summarise(self) -> dict[str, Any]:
        """Return the summary of the latest test."""
        return summarise_classes(self.cases)


def _missing_classes(data: Any, split: str) -> list[str]:  # noqa: ANN401 - any data module
    """Return the classes that a split lacks; none for a cache without that split."""
    if not (data.cache.studies.column("split") == split).any():
        return []
    found = set(data.studies(split).column("target_class").tolist())
    return [name for name in data.describe().class_names if name not in found]
