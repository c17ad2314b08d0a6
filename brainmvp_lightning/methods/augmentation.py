"""Mirror images and change their intensities, for whole batches on their device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from brainmvp_lightning.randomness import CountedRandom


@dataclass(frozen=True)
class AugmentationOptions:
    """How training images are changed.

    Attributes:
        flip: Probability that an image is mirrored along an axis, for each axis on its own.
        shift: Largest number that is added to intensities or taken from them.
        scale: Largest share by which intensities are raised or lowered.

    Raises:
        ValueError: If a number is out of range.

    Source:
        BrainMVP, supplement B.2: flips with p = 0.5, intensity shift 0.1, intensity scale 0.1.
    """

    flip: float = 0.5
    shift: float = 0.1
    scale: float = 0.1

    def __post_init__(self) -> None:
        if not (0 <= self.flip <= 1 and self.shift >= 0 and 0 <= self.scale < 1):
            raise ValueError(
                f"augmentation.flip is {self.flip}, shift {self.shift} and scale {self.scale}; "
                "flip must be from 0 to 1, shift at least 0, scale at least 0 and below 1"
            )


def change_intensities(
    image: Tensor, present: Tensor, keys: Tensor, options: AugmentationOptions
) -> Tensor:
    """Return images with other brightness and contrast, ``b c x y z``.

    All present modalities of a sample become ``image * (1 + s) + o`` with the same two numbers,
    each drawn evenly around 0. The result is not cut off at 0 and 1.

    Args:
        image: ``b c x y z``.
        present: Modalities to change, ``b c``; the others (zeros, or templates) stay as they are.
        keys: Keys of the samples, ``b``.
        options: How far.
    """
    draws = 2 * CountedRandom(keys).uniform(2, "augmentation/intensity") - 1  # b 2, in [-1, 1)
    scale, shift = (draws[:, i].view(-1, 1, 1, 1, 1).to(image) for i in (0, 1))
    changed = image * (1 + options.scale * scale) + options.shift * shift
    return torch.where(present[:, :, None, None, None], changed, image)


def draw_flips(keys: Tensor, options: AugmentationOptions) -> Tensor:
    """Return along which axes each sample is mirrored, ``b 3``, bool."""
    return CountedRandom(keys).uniform(3, "augmentation/flip") < options.flip


def flip(volume: Tensor, flips: Tensor) -> Tensor:
    """Mirror each sample; doing so twice changes nothing.

    Images, annotations and crops of templates are mirrored alike, which keeps them aligned if the
    templates are cropped at the unmirrored place first.

    Args:
        volume: ``b c x y z``, of any type.
        flips: Axes of each sample, ``b 3``, bool.
    """
    for axis in range(3):
        is_flipped = flips[:, axis].view(-1, 1, 1, 1, 1)
        volume = torch.where(is_flipped, volume.flip(2 + axis), volume)
    return volume
