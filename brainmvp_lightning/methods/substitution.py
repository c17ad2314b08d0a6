"""Two copies of a labelled study, in which templates stand in for modalities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from brainmvp_lightning.batches import Size
from brainmvp_lightning.losses.consistency import consistency_loss
from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.randomness import CountedRandom

Consistency = Literal["features", "outputs"]
Levels = Literal["last", "all"]


@dataclass(frozen=True)
class SubstitutionOptions:
    """How templates stand in for modalities, and how the two copies are held together.

    Attributes:
        weight: Factor lambda_cons of the consistency of the two copies; 0 leaves it out.
        consistency: What must be alike: ``"features"`` of the encoder (paper), or the ``"outputs"``
            before softmax or sigmoid (published code).
        levels: Features that must be alike: the ``"last"`` level, or ``"all"`` of them, each of the
            same weight.
        least_replaced: Modalities that are replaced in each copy at least. One modality always
            stays, whatever this says.
        masking: Where the template covers a modality that is the only one of its study; by default
            blocks of 8 voxels at 0.875 of the places, as in pre-training.

    Raises:
        ValueError: If a value makes no sense.

    Source:
        BrainMVP, supplement A, equations 7 and 8; lambda_cons = 0.1.
    """

    weight: float = 0.1
    consistency: Consistency = "features"
    levels: Levels = "last"
    least_replaced: int = 0
    masking: Masking | None = None

    def __post_init__(self) -> None:
        if not self.weight >= 0 or self.least_replaced < 0:
            raise ValueError(
                f"substitution.weight is {self.weight} and least_replaced {self.least_replaced}; "
                "neither can be negative"
            )
        for name, value, known in (
            ("consistency", self.consistency, get_args(Consistency)),
            ("levels", self.levels, get_args(Levels)),
        ):
            if value not in known:
                raise ValueError(f"substitution.{name} is {value!r}; use {' or '.join(known)}")

    def cover(self) -> Masking:
        """Return where a template covers the only modality of a study."""
        return GridBlocks(block_size=8, ratio=0.875) if self.masking is None else self.masking

    def check(self, crop_size: Size) -> None:
        """Try the masking on a crop.

        Raises:
            ValueError: If the crop does not suit it.
        """
        try:
            self.cover().draw(crop_size, CountedRandom(torch.zeros(1, dtype=torch.int64)))
        except ValueError as error:
            raise ValueError(
                "the template covers parts of a modality that is the only one of its study, and "
                f"substitution.masking does not suit data.crop_size: {error}"
            ) from error


class Copies(NamedTuple):
    """Two copies of a batch, which share its annotation."""

    first: Tensor
    """``b c x y z``."""
    second: Tensor
    """``b c x y z``."""
    replaced_first: Tensor
    """Modalities that the first copy has from the template as a whole, ``b c``, bool."""
    replaced_second: Tensor
    """The same of the second copy, ``b c``, bool."""


def fill_missing(image: Tensor, present: Tensor, template_crops: Tensor | None) -> Tensor:
    """Return images without gaps, ``b c x y z``.

    Args:
        image: ``b c x y z``.
        present: Which modalities are there, ``b c``, bool.
        template_crops: What the others become, ``b c x y z``; zeros if there are no templates.
    """
    is_missing = ~present[:, :, None, None, None]
    if template_crops is None:
        return image.masked_fill(is_missing, 0)
    return torch.where(is_missing, template_crops, image)


def two_copies(
    image: Tensor,
    present: Tensor,
    template_crops: Tensor,
    keys: Tensor,
    options: SubstitutionOptions,
) -> Copies:
    """Make two copies of each study in which templates stand in for some modalities.

    Each copy of each study draws for itself how many of the present modalities are replaced, evenly
    from the least number to all but one, and which. A study with one modality keeps it, covered
    with its template in places. What a study lacks stays as it is.

    Args:
        image: ``b c x y z``, without gaps (see `fill_missing`).
        present: Which modalities are real, ``b c``, bool.
        template_crops: The templates at the same place, ``b c x y z``.
        keys: Keys of the samples, ``b``.
        options: How many at least, and how a single modality is covered.

    Source:
        BrainMVP, supplement A. That 0 modalities may be replaced is our reading of "a random
        number"; `SubstitutionOptions.least_replaced` decides.
    """
    random = CountedRandom(keys)
    x, y, z = image.shape[2:]
    is_single = present & (present.sum(dim=1, keepdim=True) == 1)  # b c
    images, replaced = [], []
    for copy in ("first", "second"):
        chosen = draw_replaced(present, random, options.least_replaced, copy)
        # How many modalities a study has is known on the device only, so all draw a mask.
        mask = options.cover().draw((x, y, z), random, f"substitution/{copy}/mask")
        covered = is_single[:, :, None, None, None] & mask  # b c x y z
        covered |= chosen[:, :, None, None, None]
        images.append(torch.where(covered, template_crops, image))
        replaced.append(chosen)
    return Copies(*images, *replaced)


def draw_replaced(present: Tensor, random: CountedRandom, least_replaced: int, copy: str) -> Tensor:
    """Draw the modalities of each study that a template replaces, ``b c``, bool.

    Args:
        present: Which modalities are real, ``b c``, bool; at least one of them stays.
        random: One stream for each study.
        least_replaced: How many at least, if the study has more.
        copy: Name of the copy; two copies of a study use two names.
    """
    num_channels = present.shape[1]
    most = (present.sum(dim=1, keepdim=True) - 1).clamp(min=0)  # b 1
    least = most.clamp(max=least_replaced)
    num_replaced = least + random.integers(1, most - least + 1, f"substitution/{copy}/number")
    draws = random.uniform(num_channels, f"substitution/{copy}/order")
    order = draws.masked_fill(~present, 2.0).argsort(dim=1, stable=True)  # what is missing is last
    rank = order.argsort(dim=1)
    return rank < num_replaced


def consistency(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    share: Tensor,
    options: SubstitutionOptions,
) -> Tensor:
    """Return how far the two copies are apart, a scalar not yet multiplied by `options.weight`.

    Args:
        first: Of the first copies, either the features, shallowest first, or the logits, the answer
            first, as `options.consistency` asks; each ``b ...``.
        second: The same of the second copies.
        share: Share of each study in the loss, ``b``.
        options: What is compared. Of logits it is the answer alone, without auxiliary answers.

    Source:
        BrainMVP, equations 7 and 8; published code for logits.
    """
    if options.consistency == "outputs":
        first, second = first[:1], second[:1]
    elif options.levels == "last":
        first, second = first[-1:], second[-1:]
    return consistency_loss(first, second, share)
