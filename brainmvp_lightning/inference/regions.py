"""From probabilities and annotations to the regions that are scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainmvp_lightning.batches import LabelledDescription


@dataclass(frozen=True, eq=False)
class NativeAnnotation:
    """Regions of a study on the grid of the annotation's file.

    Attributes:
        regions: ``r x y z``, bool.
        affine: Voxel index of the file to world millimetres of the study, 4 x 4.
        spacing_mm: Edges of the file's voxels.
    """

    regions: NDArray[np.bool_]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]


def membership(description: LabelledDescription) -> Tensor:
    """Return which class belongs to which region, ``r k``, bool."""
    return torch.tensor(
        [
            [region in regions for regions in description.label_regions]
            for region in description.region_names
        ]
    )


def label_regions(label: Tensor, description: LabelledDescription) -> Tensor:
    """Return the regions of an annotation, ``r x y z``, bool.

    Args:
        label: Classes ``1 x y z``, or regions of 0 and 1 ``r x y z``.
        description: What they are.
    """
    if description.overlapping:
        return label > 0
    return _of_classes(label[0], description)


def answer_regions(probabilities: Tensor, description: LabelledDescription) -> Tensor:
    """Return the regions that a network sees, ``r x y z``, bool.

    Regions that overlap are those with a probability above 1 / 2; a region of exclusive classes is
    where one of its classes is the most probable.

    Args:
        probabilities: ``k x y z``.
        description: What the channels are.
    """
    if description.overlapping:
        return probabilities > 0.5
    return _of_classes(probabilities.argmax(dim=0), description)


def _of_classes(classes: Tensor, description: LabelledDescription) -> Tensor:
    table = membership(description).to(classes.device)
    return table[:, classes.long()]


def dice_of_regions(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the Dice of each region, ``r``; 1 where both are empty.

    Args:
        prediction: ``r x y z``, bool.
        truth: ``r x y z``, bool.
    """
    shared = (prediction & truth).flatten(1).sum(dim=1)
    total = prediction.flatten(1).sum(dim=1) + truth.flatten(1).sum(dim=1)
    return torch.where(total > 0, 2 * shared / total.clamp(min=1), 1.0)
