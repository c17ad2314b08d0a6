"""Hidden cubes: blocks of a grid, or cubes at random places until a share is hidden."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from brainmvp_lightning.batches import Size
from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.masking.cubes import hide_until, num_candidates
from brainmvp_lightning.masking.registry import MASKING
from brainmvp_lightning.randomness import CountedRandom


@MASKING.register("grid_blocks")
class GridBlocks(Masking):
    """Hides an exact number of the blocks of a regular grid.

    Args:
        block_size: Edge of a block in voxels; each side of the image must be a multiple of it.
        ratio: Share of hidden blocks, from 0 to 1.
        rounding: Which whole number of blocks stands for the share. ``"nearest"`` hides the nearest
            number; ``"floor_visible"`` rounds the number of visible blocks down (published code).

    Raises:
        ValueError: If the block size or the ratio is out of range.

    Source:
        BrainMVP, section 3.1: edge 8, share 0.875. Published script: 0.8, visible blocks rounded
        down.
    """

    def __init__(
        self,
        block_size: int = 8,
        ratio: float = 0.875,
        rounding: Literal["nearest", "floor_visible"] = "nearest",
    ) -> None:
        super().__init__()
        _check_block_size(block_size)
        if not 0 <= ratio <= 1:
            raise ValueError(f"grid_blocks: ratio must be from 0 to 1, got {ratio}")
        self.block_size = block_size
        self.ratio = ratio
        self.rounding = rounding

    def draw(self, size: Size, random: CountedRandom, purpose: str = "mask") -> Tensor:
        """Return the mask; each sample hides `num_hidden` blocks.

        Raises:
            ValueError: If a side is no multiple of the block size.
        """
        edge = self.block_size
        grid = tuple(side // edge for side in size)
        if any(side % edge for side in size):
            nearest = tuple(max(1, round(side / edge)) * edge for side in size)
            raise ValueError(
                f"grid_blocks cuts the image into cubes of {edge} voxels, but its size is "
                f"{tuple(size)}; use the crop size {nearest}, another block_size, or random_cubes"
            )
        num_blocks = math.prod(grid)
        # Draws of 24 bits can tie; the sort puts every block at one place all the same.
        order = random.uniform(num_blocks, purpose).argsort(dim=1, stable=True)
        is_hidden = torch.zeros_like(order, dtype=torch.bool)
        is_hidden.scatter_(1, order[:, : self.num_hidden(num_blocks)], True)
        blocks = is_hidden.view(-1, 1, grid[0], 1, grid[1], 1, grid[2], 1)
        voxels = blocks.expand(-1, -1, -1, edge, -1, edge, -1, edge)  # b 1 x r y r z r
        return voxels.reshape(-1, 1, *size)

    def num_hidden(self, num_blocks: int) -> int:
        """Return how many of `num_blocks` are hidden."""
        if self.rounding == "nearest":
            return round(num_blocks * self.ratio)
        # 1 - 0.8 is a little below 0.2 in binary; that must not cost a block.
        return num_blocks - math.floor(num_blocks * (1 - self.ratio) + 1e-6)


@MASKING.register("random_cubes")
class RandomCubes(Masking):
    """Hides cubes at random places, one after the other, until a share of all voxels is hidden.

    Centres are drawn uniformly from all voxels, cubes may overlap and are cut off at the border.
    Counted is their union; the last cube is the first to reach the share.

    Args:
        block_size: Edge of a cube in voxels.
        ratio: Share of voxels to hide, above 0 and below 1.

    Raises:
        ValueError: If the block size or the ratio is out of range.

    Source:
        BrainMVP, algorithm 1; section 3.1: edge 8, share 0.875.
    """

    def __init__(self, block_size: int = 8, ratio: float = 0.875) -> None:
        super().__init__()
        _check_block_size(block_size)
        if not 0 < ratio < 1:
            raise ValueError(
                f"random_cubes: ratio must be above 0 and below 1, got {ratio}; "
                "grid_blocks can hide all or nothing"
            )
        self.block_size = block_size
        self.ratio = ratio

    def draw(self, size: Size, random: CountedRandom, purpose: str = "mask") -> Tensor:
        """Return the mask; each sample hides the share or up to one cube more.

        More cubes are drawn than are needed. If they should not do (by `num_candidates`, less
        likely than one in a billion), the whole image is hidden.

        Raises:
            ValueError: If a side is smaller than a cube.
        """
        if min(size) < self.block_size:
            raise ValueError(
                f"random_cubes drops cubes of {self.block_size} voxels, but the image has the size "
                f"{tuple(size)}; use a larger crop or a smaller block_size"
            )
        centres = self.draw_centres(size, random, purpose)
        return hide_until(centres, size, self.block_size, self.ratio)

    def draw_centres(self, size: Size, random: CountedRandom, purpose: str = "mask") -> Tensor:
        """Return the voxels that cubes are centred on, in order, ``b n 3``, int64."""
        num = num_candidates(size, self.block_size, self.ratio)
        axes = zip(size, "xyz", strict=True)
        draws = [random.integers(num, side, f"{purpose}/{axis}") for side, axis in axes]
        return torch.stack(draws, dim=-1)


def _check_block_size(block_size: int) -> None:
    if block_size < 1:
        raise ValueError(f"block_size is an edge in voxels, at least 1, got {block_size}")
