"""What a network sees of a batch in training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from brainmvp_lightning.batches import LabelledBatch
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.methods.augmentation import (
    AugmentationOptions,
    change_intensities,
    draw_flips,
    flip,
)
from brainmvp_lightning.methods.substitution import SubstitutionOptions, fill_missing, two_copies


@dataclass(frozen=True)
class TrainingViews:
    """Copies of a batch, one behind the other.

    Attributes:
        image: ``n*b c x y z``.
        flips: Along which axes each sample is mirrored, the same in all copies, ``b 3``, bool.
        num_copies: How many, ``n``.
        metrics: Scalars to log.
    """

    image: Tensor
    flips: Tensor
    num_copies: int
    metrics: dict[str, Tensor]

    def like_image(self, label: Tensor) -> Tensor:
        """Mirror an annotation, ``b k x y z``, and repeat it for each copy, ``n*b k x y z``."""
        return flip(label, self.flips).repeat(self.num_copies, 1, 1, 1, 1)


@torch.no_grad()
def make_views(
    model: FineTunedModel,
    batch: LabelledBatch,
    origins: Tensor,
    substitution: SubstitutionOptions | None,
    augmentation: AugmentationOptions,
) -> TrainingViews:
    """Augment a batch and replace modalities in it, on its device.

    Intensities of real scans change first, then templates fill what is missing or replaced, at
    their true place; mirrors come last, so that scans and templates stay aligned.

    Args:
        model: Has the templates.
        batch: Crops.
        origins: Their first voxels, counted as those of the templates, ``b 3``.
        substitution: How two copies are made; None for a single one.
        augmentation: How images change.
    """
    keys, present = batch["key"], batch["present"]
    image = change_intensities(batch["image"], present, keys, augmentation)
    size = (image.shape[2], image.shape[3], image.shape[4])
    crops = None if model.templates is None else model.templates.crop(origins, size)
    image = fill_missing(image, present, crops if model.fills_with == "templates" else None)
    flips = draw_flips(keys, augmentation)
    if substitution is None or crops is None:
        return TrainingViews(flip(image, flips), flips, 1, {})
    copies = two_copies(image, present, crops, keys, substitution)
    both = torch.cat([flip(copies.first, flips), flip(copies.second, flips)])
    replaced = torch.stack([copies.replaced_first, copies.replaced_second]).float().mean()
    return TrainingViews(both, flips, 2, {"replaced_share": replaced})
