"""Exponential moving average of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of a network that follows it slowly, buffers included.

    Numbers that cannot be averaged, such as indices, are those of the network. The first update
    makes both equal.

    Args:
        model: What to follow.
        decay: Share of the average that stays at each update, in (0, 1).
    """

    @torch.no_grad()
    def follow(averages: Tensors, current: Tensors, num_averaged: Tensor | int) -> None:
        del num_averaged
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average), 1 - decay)
            else:
                average.copy_(value)

    averaged = AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
    averaged.requires_grad_(False)
    return averaged
