"""Learned positions of patches, made for another size of image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

NAME = "position_embeddings"
"""Last part of the name of such a tensor, ``1 n c``."""

Grid = tuple[int, ...]


def grid_in_file(table: Tensor, options: Mapping[str, Any]) -> Grid | None:
    """Return the grid of the patches that positions ``1 n c`` are of; None if it is not known.

    Args:
        table: The positions.
        options: Of the network that learned them; ``image_size`` tells the shape of the grid.
    """
    count = table.shape[1]
    size = options.get("image_size")
    if not isinstance(size, (list, tuple)) or len(size) != 3 or count < 1:
        return None
    patch = round((math.prod(size) / count) ** (1 / 3))
    grid = tuple(side // max(patch, 1) for side in size)
    return grid if math.prod(grid) == count else None


def resize_positions(table: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Interpolate positions ``1 n c`` of one grid of patches to another one, trilinearly.

    As networks do that meet an image of another size than they were made for.
    """
    maps = table.transpose(1, 2).unflatten(2, tuple(old)).float()
    resized = functional.interpolate(maps, size=tuple(new), mode="trilinear")
    return resized.flatten(2).transpose(1, 2).to(table.dtype).contiguous()
