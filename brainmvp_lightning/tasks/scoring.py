"""Scores of a study in the space of its annotation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.batches import LabelledDescription, VolumeBatch
from brainmvp_lightning.evaluation.segmentation import EmptyRule, RegionScore, score_regions
from brainmvp_lightning.inference.decisions import Labelling
from brainmvp_lightning.inference.native_space import restore
from brainmvp_lightning.inference.regions import NativeAnnotation, label_regions, membership


@dataclass(frozen=True)
class StudyScorer:
    """Scores what would be written to a file of labels.

    Attributes:
        description: What the network was trained for.
        rule: What an empty region costs.
    """

    description: LabelledDescription
    rule: EmptyRule

    def native(
        self, probabilities: NDArray[np.float32], batch: VolumeBatch, truth: NativeAnnotation
    ) -> list[RegionScore]:
        """Score on the grid of the annotation's file.

        Args:
            probabilities: ``k x y z`` of the only volume in the batch.
            batch: Says where it lies.
            truth: What was annotated.
        """
        to_box = np.eye(4)
        to_box[:3, 3] = batch["start"][0].tolist()  # the volume may be padded
        labelling = self._labelling()
        classes = restore(
            probabilities,
            np.asarray(batch["geometry"][0]["affine"]) @ to_box,
            truth.affine,
            truth.regions.shape[1:],
            labelling,
            outside=labelling.outside,
        )
        return self._score(classes, truth.regions, truth.spacing_mm)

    def prepared(self, probabilities: NDArray[np.float32], batch: VolumeBatch) -> list[RegionScore]:
        """Score on the grid that the study was prepared on; arguments as in `native`."""
        classes = self._labelling()(probabilities)
        truth = label_regions(batch["label"][0], self.description).cpu().numpy()
        return self._score(classes, truth, self.description.spacing_mm)

    def _labelling(self) -> Labelling:
        """Return the rule by which labels are written, with classes for values."""
        return Labelling.of(replace(self.description, label_values=()))

    def _score(
        self,
        classes: NDArray[np.uint8],
        truth: NDArray[np.bool_],
        spacing_mm: tuple[float, float, float],
    ) -> list[RegionScore]:
        prediction = membership(self.description).numpy()[:, classes]
        return score_regions(
            prediction, truth, spacing_mm, self.description.region_names, self.rule
        )
