"""Segmentation of aligned modalities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import LabelledBatch, LabelledDescription, VolumeBatch
from brainmvp_lightning.evaluation.segmentation import EmptyRule
from brainmvp_lightning.evaluation.summary import summarise
from brainmvp_lightning.evaluation.tables import CaseScore
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.inference.model import Answer
from brainmvp_lightning.inference.regions import answer_regions, dice_of_regions, label_regions
from brainmvp_lightning.inference.writing import without_padding
from brainmvp_lightning.losses.segmentation import SegmentationLoss, SegmentationLossOptions
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.tasks.copies import TrainingViews
from brainmvp_lightning.tasks.finetune import FineTuneTask
from brainmvp_lightning.tasks.means import CaseMeans
from brainmvp_lightning.tasks.rows import scored_rows
from brainmvp_lightning.tasks.scoring import StudyScorer
from brainmvp_lightning.volumes.errors import VolumeError


@dataclass(frozen=True, eq=False)
class SeenCase:
    """What a validation saw in a study.

    Attributes:
        row: Its row in the batch.
        truth: Annotated regions in the stored box, ``r x y z``, bool.
        prediction: Regions that the network sees, alike.
        dice: Mean over the regions.
    """

    row: int
    truth: Tensor
    prediction: Tensor
    dice: float


class SegmentationTask(FineTuneTask):
    """Segments regions or structures; options beside these are those of `FineTuneTask`.

    Validation scores whole volumes on the grid they were prepared on, for the choice of the best
    checkpoint. The test scores what would be written, on the grid of each annotation's own file, by
    `score_regions`.

    Args:
        backbone: See `FineTuneTask`.
        head: See `FineTuneTask`.
        loss: How a segmentation is scored in training.
        empty: What a region costs that was missed, or is empty.
        options: See `FineTuneTask`.

    Source:
        BrainMVP, section 4.2 and supplement B.2.
    """

    kind = "segmentation"
    monitor = "val/dice"

    def __init__(
        self,
        backbone: Callable[[int], Backbone],
        head: Callable[[Backbone, int], TaskHead] | None = None,
        *,
        loss: SegmentationLossOptions = SegmentationLossOptions(),  # noqa: B008 - frozen
        empty: EmptyRule = EmptyRule(),  # noqa: B008 - frozen
        **options: Any,  # noqa: ANN401 - handed through
    ) -> None:
        super().__init__(backbone, head, **options)
        self.loss_options = loss
        self.empty = empty
        self._means = CaseMeans()

    def check_description(self, description: LabelledDescription) -> None:
        """See that there are regions to segment."""
        if not description.region_names:
            raise SetupError(
                "SegmentationTask needs annotations, which these data do not have; use "
                "SegmentationDataModule, or ClassificationTask for classes of studies"
            )

    def check(self, data: Any, *, validates: bool) -> None:  # noqa: ANN401 - any data module
        """Look at data and weights, and build the network.

        Raises:
            ValueError: If they do not suit each other, or all training annotations are empty.
        """
        super().check(data, validates=validates)
        studies = data.studies("train")
        empty = [study.id for study in studies if not study.label_values]
        if len(empty) == len(studies):
            raise SetupError(
                f"all {len(studies)} training annotations are empty, so there is nothing to learn; "
                "check their values with 'brainmvp doctor'"
            )
        if empty:
            rank_zero_warn(
                f"{len(empty)} of {len(studies)} training annotations are empty (such as "
                f"{empty[0]}); they teach where nothing is"
            )

    def supervise(
        self, answer: Answer, batch: LabelledBatch, views: TrainingViews, share: Tensor
    ) -> dict[str, Tensor]:
        """Return Dice loss and cross entropy over all copies."""
        overlapping = self.scored.description.overlapping
        loss = SegmentationLoss(self.loss_options, overlapping=overlapping)
        return loss(answer.logits, views.like_image(batch["label"]), share)

    @property
    def num_auxiliary(self) -> int:
        """Auxiliary answers that are scored: deep supervision."""
        return len(self.loss_options.auxiliary)

    # --- validation

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._means = CaseMeans()

    def validation_step(self, batch: VolumeBatch, batch_idx: int) -> dict[str, list[SeenCase]]:
        """Score a whole volume on its prepared grid.

        Returns:
            What was seen in each study under ``cases``, for callbacks.
        """
        del batch_idx
        self.report_faults(batch)
        description = self.scored.description
        cases = []
        for row in scored_rows(batch):
            probabilities = self.predict_row(batch, row, batch["present"][row])
            prediction = answer_regions(probabilities, description)
            truth = label_regions(self._label(batch, row).to(prediction.device), description)
            scores = dice_of_regions(prediction, truth)
            for name, score in zip(description.region_names, scores.tolist(), strict=True):
                self._means.add(f"dice_{name}", score)
            self._means.add("dice", float(scores.mean()))
            cases.append(SeenCase(row, truth, prediction, float(scores.mean())))
        return {"cases": cases}

    def on_validation_epoch_end(self) -> None:
        """Log the mean over all cases of all processes."""
        means = self._means.reduce() or {"dice": float("nan")}  # no study could be read
        for name, value in means.items():
            self.log(f"val/{name}", value, prog_bar=name == "dice")

    def score(self, batch: VolumeBatch, row: int, present: Tensor) -> list[CaseScore]:
        """Return the scores of a study, as rows of the table."""
        description = self.scored.description
        probabilities = self.predict_row(batch, row, present).cpu().numpy()
        scorer = StudyScorer(description, self.empty)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        record = self.record_of(batch, row)
        try:
            scores = scorer.native(
                probabilities, batch["geometry"][row], data.annotation(record.id)
            )
            space = "native"
        except VolumeError as error:
            self.report_fault(f"{record.id}: scored on the prepared grid, because {error}")
            label = self._label(batch, row).cpu().numpy()
            scores, space = scorer.prepared(probabilities, label), "prepared"
        return [
            CaseScore.of(
                score,
                study=record.id,
                dataset=record.dataset,
                split=record.split,
                modalities=self.names_of(present),
                space=space,
            )
            for score in scores
        ]

    def _label(self, batch: VolumeBatch, row: int) -> Tensor:
        """Return the annotation in the stored box, ``k x y z``."""
        return without_padding(batch["label"][row], batch["start"][row], batch["geometry"][row])

    def summarise(self) -> dict[str, Any]:
        """Return the summary of the latest test."""
        return summarise(self.cases, rule=self.empty)
