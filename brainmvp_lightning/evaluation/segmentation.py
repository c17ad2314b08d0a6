"""Scores of one segmented study, region by region, by a declared rule for empty regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from brainmvp_lightning.evaluation.lesions import LesionCounts, count_lesions
from brainmvp_lightning.evaluation.surface import Mask, hd95

Outcome = Literal["scored", "missed", "false_alarm", "both_empty"]
OUTCOMES: tuple[Outcome, ...] = ("scored", "missed", "false_alarm", "both_empty")
EXCLUDED = math.nan


@dataclass(frozen=True)
class EmptyRule:
    """What a region costs that is empty in the annotation, in the prediction, or in both.

    Dice of a region that one of them lacks is 0 by definition; a distance does not exist and has
    to be declared. Leaving it out makes a model look better the more it misses.

    Args:
        one_empty: HD95 of a region that was missed, or predicted though there is none: `diagonal`
            of the scored image in mm, a number of mm, or `exclude`.
        both_empty: `perfect` for Dice 1 and HD95 0, or `exclude`.

    Raises:
        ValueError: If a choice is none of these.

    Source:
        BraTS challenges: Dice 0 and HD95 374 mm, the diagonal of their images, for a miss and a
        false alarm; Dice 1 and HD95 0 if both are empty.
    """

    one_empty: Literal["diagonal", "exclude"] | float = "diagonal"
    both_empty: Literal["perfect", "exclude"] = "perfect"

    def __post_init__(self) -> None:
        worst = self.one_empty
        if isinstance(worst, str):
            valid = worst in ("diagonal", "exclude")
        else:
            valid = math.isfinite(worst) and worst >= 0
        if not valid:
            raise ValueError(
                f"one_empty is {worst!r}; use 'diagonal', 'exclude' or a distance in mm such as 374"
            )
        if self.both_empty not in ("perfect", "exclude"):
            raise ValueError(f"both_empty is {self.both_empty!r}; use 'perfect' or 'exclude'")

    def worst_mm(self, diagonal_mm: float) -> float:
        """Return the HD95 of a missed or invented region; NaN leaves it out."""
        if isinstance(self.one_empty, str):
            return diagonal_mm if self.one_empty == "diagonal" else EXCLUDED
        return float(self.one_empty)


@dataclass(frozen=True)
class RegionScore:
    """Agreement on one region of one study.

    Attributes:
        region: Its name.
        dice: In [0, 1]; NaN if the rule leaves the region out.
        hd95_mm: Surface distance; NaN if the rule leaves it out.
        outcome: ``scored``, ``missed`` (annotated, nothing predicted), ``false_alarm`` (the
            reverse) or ``both_empty``.
        truth_ml: Annotated volume.
        prediction_ml: Predicted volume.
        lesions: Connected parts of both.
    """

    region: str
    dice: float
    hd95_mm: float
    outcome: Outcome
    truth_ml: float
    prediction_ml: float
    lesions: LesionCounts


def score_regions(
    prediction: Mask,
    truth: Mask,
    spacing_mm: Sequence[float],
    names: Sequence[str],
    rule: EmptyRule | None = None,
) -> list[RegionScore]:
    """Score each region of a study.

    Args:
        prediction: ``r x y z``, boolean; regions may overlap.
        truth: Of the same shape.
        spacing_mm: Of the voxels, along x, y and z.
        names: Of the regions, in order.
        rule: For empty regions; `EmptyRule()` by default.

    Raises:
        TypeError: If an array is not boolean.
        ValueError: If shapes, names or spacing do not fit.
    """
    _check(prediction, truth, spacing_mm, names)
    rule = rule or EmptyRule()
    return [
        _score(prediction[index], truth[index], spacing_mm, name, rule)
        for index, name in enumerate(names)
    ]


def dice(prediction: Mask, truth: Mask) -> float:
    """Return the Dice coefficient of two regions that are not both empty."""
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 2 * int(np.count_nonzero(prediction & truth)) / int(total)


def _score(
    prediction: Mask, truth: Mask, spacing_mm: Sequence[float], name: str, rule: EmptyRule
) -> RegionScore:
    voxel_ml = math.prod(spacing_mm) / 1000
    num_truth, num_predicted = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    outcome: Outcome
    if num_truth and num_predicted:
        outcome = "scored"
        overlap, distance = dice(prediction, truth), hd95(prediction, truth, spacing_mm)
    elif num_truth or num_predicted:
        outcome = "missed" if num_truth else "false_alarm"
        sides = (num * side for num, side in zip(truth.shape, spacing_mm, strict=True))
        overlap, distance = 0.0, rule.worst_mm(math.hypot(*sides))
    else:
        outcome = "both_empty"
        overlap, distance = (1.0, 0.0) if rule.both_empty == "perfect" else (EXCLUDED, EXCLUDED)
    return RegionScore(
        name,
        overlap,
        distance,
        outcome,
        num_truth * voxel_ml,
        num_predicted * voxel_ml,
        count_lesions(prediction, truth),
    )


def _check(
    prediction: Mask, truth: Mask, spacing_mm: Sequence[float], names: Sequence[str]
) -> None:
    for who, regions in (("prediction", prediction), ("truth", truth)):
        if regions.dtype != np.bool_:
            raise TypeError(
                f"the {who} holds {regions.dtype}; score_regions needs booleans, such as "
                "probabilities > 0.5"
            )
    if prediction.shape != truth.shape or truth.ndim != 4 or len(truth) != len(names):
        raise ValueError(
            f"the prediction is {prediction.shape}, the annotation {truth.shape}, for "
            f"{len(names)} regions ({', '.join(names)}); both must be regions x y z on one grid"
        )
    if len(spacing_mm) != 3 or not all(math.isfinite(side) and side > 0 for side in spacing_mm):
        raise ValueError(f"spacing_mm is {list(spacing_mm)}; it must be three lengths above 0")
