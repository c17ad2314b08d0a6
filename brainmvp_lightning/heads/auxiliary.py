"""Auxiliary answers from coarse maps of a decoder: deep supervision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.backbones.pointwise import PointwiseConv3d


class AuxiliaryAnswers(nn.ModuleList):
    """One 1^3 convolution for each of the finest maps below full resolution.

    Args:
        widths: Channels of the maps that a decoder makes before its last one, coarsest first.
        num_outputs: Channels of an answer.
        limit: Maps that answer, at most; the finest do. 0 makes no layer.

    Raises:
        ValueError: If the limit is negative.

    Source:
        Published fine-tuning network of BrainMVP.
    """

    def __init__(self, widths: Sequence[int], num_outputs: int, limit: int) -> None:
        if limit < 0:
            raise ValueError(
                f"num_auxiliary must not be negative, got {limit}; 0 leaves auxiliary answers out"
            )
        num_answers = min(limit, len(widths))
        super().__init__(
            PointwiseConv3d(width, num_outputs) for width in widths[len(widths) - num_answers :]
        )

    def forward(self, maps: Sequence[Tensor], size: torch.Size) -> list[Tensor]:
        """Return answers ``b num_outputs x y z`` at full resolution, the coarsest first.

        Args:
            maps: ``b c x y z`` each, one for each of `widths`.
            size: Sides of the image.
        """
        answering = maps[len(maps) - len(self) :]
        return [
            functional.interpolate(layer(level), size, mode="trilinear", align_corners=True)
            for layer, level in zip(self, answering, strict=True)
        ]
