"""One resolution level of a network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from brainmvp_lightning.backbones.checkpointing import recomputed


class Stage(nn.Module):
    """A layer that enters a new resolution, followed by blocks that keep it.

    Args:
        entry: Maps the finer level, or the image, to this one.
        blocks: Layers that keep the shape.
        channels_last: Whether the maps of this level lie channels last in memory; the blocks hand
            the layout on by themselves.

    Attributes:
        checkpointing: Whether blocks are computed again in the backward pass, which then need less
            memory.
    """

    def __init__(self, entry: nn.Module, blocks: Iterable[nn.Module], channels_last: bool) -> None:
        super().__init__()
        self.entry = entry
        self.blocks = nn.Sequential(*blocks)
        self.layout = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.checkpointing = False

    def forward(self, finer: Tensor) -> Tensor:
        """Map the finer level ``b c x y z`` to this one."""
        level: Tensor = self.entry(finer).contiguous(memory_format=self.layout)
        for block in self.blocks:
            level = recomputed(block, level) if self.checkpointing else block(level)
        return level
