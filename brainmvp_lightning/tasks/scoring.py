"""Scores of a study in the space of its annotation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from brainmvp_lightning.batches import LabelledDescription, StudyGeometry
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
        self, probabilities: NDArray[np.float32], geometry: StudyGeometry, truth: NativeAnnotation
    ) -> list[RegionScore]:
        """Score on the grid of the annotation's file.

        Args:
            probabilities: ``k x y z`` of the stored box.
            geometry: Of the study.
            truth: What was annotated.
        """
        labelling = self._labelling()
        classes = restore(
            probabilities,
            np.asarray(geometry["affine"]),
            truth.affine,
            truth.regions.shape[1:],
            labelling,
            outside=labelling.outside,
        )
        return self._score(classes, truth.regions, truth.spacing_mm)

    def prepared(
        self, probabilities: NDArray[np.float32], label: NDArray[np.uint8]
    ) -> list[RegionScore]:
        """Score on the grid that the study was prepared on.

        Args:
            probabilities: ``k x y z`` of the stored box.
            label: Its annotation, classes ``1 x y z`` or regions ``r x y z``.
        """
        classes = self._labelling()(probabilities)
        truth = label_regions(torch.from_numpy(label), self.description).numpy()
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
