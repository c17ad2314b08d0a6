"""Dice and cross entropy of a segmentation, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from brainmvp_lightning.losses.precision import at_least_float32

SMOOTHING = 1e-5


@dataclass(frozen=True)
class SegmentationLossOptions:
    """How a segmentation is scored in training.

    Attributes:
        dice: Factor of the Dice loss.
        cross_entropy: Factor of the cross entropy; binary for each region where regions overlap.
        include_background: Whether the background is one of the classes of the Dice loss; without
            meaning for overlapping regions.
        squared_dice: Whether the denominator of the Dice loss has squared probabilities.
        auxiliary: Factors of the losses of auxiliary answers, the coarsest first: deep supervision.
            Empty for none. With fewer factors than answers, the finest answers are supervised.

    Raises:
        ValueError: If a factor is negative, or nothing is left.

    Source:
        BrainMVP, supplement A and B.2: a Dice-type loss with deep supervision; neither the paper
        nor the published code states factors we could take over, 1 / 4 and 1 / 2 are ours.
    """

    dice: float = 1.0
    cross_entropy: float = 1.0
    include_background: bool = False
    squared_dice: bool = False
    auxiliary: tuple[float, ...] = (0.25, 0.5)

    def __post_init__(self) -> None:
        if min(self.dice, self.cross_entropy, *self.auxiliary, 0) < 0:
            raise ValueError(f"factors of the segmentation loss must not be negative, got {self}")
        if self.dice + self.cross_entropy <= 0:
            raise ValueError("the segmentation loss has no term left; set loss.dice above 0")


class SegmentationLoss:
    """Scores logits with an annotation.

    Args:
        options: Factors.
        overlapping: Whether there is one channel for each region, instead of exclusive classes.
    """

    def __init__(self, options: SegmentationLossOptions, *, overlapping: bool) -> None:
        self.options = options
        self.overlapping = overlapping

    def __call__(
        self, answers: Sequence[Tensor], label: Tensor, share: Tensor
    ) -> dict[str, Tensor]:
        """Return the terms ``dice_loss`` and ``cross_entropy``, and their weighted ``total``.

        Args:
            answers: Logits ``b k x y z``, the true answer first, auxiliary ones after it.
            label: Classes ``b 1 x y z``, or regions of 0 and 1 ``b k x y z``; uint8.
            share: Share of each sample in the loss, ``b``; one of share 0 has no influence.
        """
        first = self._terms(answers[0], label, share)
        total = self._sum(first)
        factors, others = self.options.auxiliary, answers[1:]
        num = min(len(factors), len(others))  # the finest ones, if there are more of either
        for factor, answer in zip(factors[-num:], others[-num:], strict=True) if num else ():
            total = total + factor * self._sum(self._terms(answer, label, share))
        return {**first, "total": total}

    def _terms(self, logits: Tensor, label: Tensor, share: Tensor) -> dict[str, Tensor]:
        logits = at_least_float32(logits)
        dice = self._dice(logits, label)  # b
        if self.overlapping:
            errors = functional.binary_cross_entropy_with_logits(
                logits, label.to(logits), reduction="none"
            )
        else:
            errors = functional.cross_entropy(logits, label[:, 0].long(), reduction="none")
        return {
            "dice_loss": _weighted(dice, share),
            "cross_entropy": _weighted(errors.flatten(1).mean(dim=1), share),
        }

    def _dice(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return one minus the mean Dice of the channels, ``b``."""
        if self.overlapping:
            claimed, truth = logits.sigmoid(), label.to(logits)
        else:
            truth = torch.zeros_like(logits).scatter_(1, label.long(), 1.0)
            claimed = logits.softmax(dim=1)
            if not self.options.include_background:
                claimed, truth = claimed[:, 1:], truth[:, 1:]
        return 1 - soft_dice(claimed, truth, squared=self.options.squared_dice).mean(dim=1)

    def _sum(self, terms: dict[str, Tensor]) -> Tensor:
        options = self.options
        return options.dice * terms["dice_loss"] + options.cross_entropy * terms["cross_entropy"]


def soft_dice(claimed: Tensor, truth: Tensor, *, squared: bool) -> Tensor:
    """Return the Dice of probabilities and a truth of 0 and 1, ``b k``.

    Nothing asks for a value on the host, so that a step can be queued and counted as a whole.

    Args:
        claimed: Probabilities, ``b k x y z``.
        truth: Of the same shape.
        squared: Whether the denominator has squared probabilities.

    Source:
        Milletari et al., V-Net (3DV 2016), section 3, with squares; smoothed by 1e-5 as in MONAI.
    """
    axes = tuple(range(2, claimed.ndim))
    overlap = (claimed * truth).sum(axes)
    size = (claimed.square() if squared else claimed).sum(axes) + truth.sum(axes)
    return (2 * overlap + SMOOTHING) / (size + SMOOTHING)


def _weighted(losses: Tensor, share: Tensor) -> Tensor:
    # Not only a product: the loss of a sample that does not count may be infinite.
    return (torch.where(share > 0, losses, 0.0) * share).sum()
