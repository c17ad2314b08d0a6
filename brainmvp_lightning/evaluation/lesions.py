"""Lesions counted one by one: found, overlooked, invented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from brainmvp_lightning.evaluation.surface import Mask, bounding_box

_TOUCHING = np.ones((3, 3, 3), bool)  # 26 neighbours


@dataclass(frozen=True)
class LesionCounts:
    """Connected parts (26 neighbours) of a region.

    Attributes:
        lesions: Parts of the annotation.
        found: Those of them that share at least one voxel with the prediction.
        invented: Parts of the prediction that share none with the annotation.
    """

    lesions: int
    found: int
    invented: int


def count_lesions(prediction: Mask, truth: Mask) -> LesionCounts:
    """Count the parts of two regions, ``x y z``."""
    lesions, found = _touched(truth, prediction)
    parts, confirmed = _touched(prediction, truth)
    return LesionCounts(lesions, found, parts - confirmed)


def _touched(mask: Mask, other: Mask) -> tuple[int, int]:
    """Return the number of parts of `mask`, and of those that meet `other`."""
    if not mask.any():
        return 0, 0
    box = bounding_box(mask)
    parts, num = label(mask[box], _TOUCHING)
    met = np.unique(parts[other[box]])
    return num, int(np.count_nonzero(met))
