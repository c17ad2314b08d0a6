"""Masks of a whole batch at once against one sample after the other, one block after the other.

Run: python benchmarks/masking.py [--batch 3 8] [--size 96] [--rounds 9] [--device cpu]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from timing import describe, median_ms, print_table
from torch import Tensor

from brainmvp_lightning.masking.blocks import GridBlocks, RandomCubes
from brainmvp_lightning.randomness import CountedRandom

EDGE, RATIO = 8, 0.875  # section 3.1


def loop_grid_blocks(num: int, side: int, device: str) -> Tensor:
    """Uncover the visible blocks of each sample, one by one."""
    grid = side // EDGE
    masks = []
    for _ in range(num):
        mask = torch.ones(side, side, side, dtype=torch.bool, device=device)
        num_visible = round(grid**3 * (1 - RATIO))
        for block in torch.randperm(grid**3)[:num_visible].tolist():
            x, y, z = (EDGE * n for n in (block // grid**2, block // grid % grid, block % grid))
            mask[x : x + EDGE, y : y + EDGE, z : z + EDGE] = False
        masks.append(mask)
    return torch.stack(masks)[:, None]


def loop_random_cubes(num: int, side: int, device: str) -> Tensor:
    """Drop cubes on each sample, one by one, as algorithm 1 is written."""
    generator = np.random.default_rng(0)
    masks = np.zeros((num, 1, side, side, side), bool)
    for mask in masks[:, 0]:
        num_hidden = 0
        while num_hidden < RATIO * mask.size:
            x, y, z = (slice(max(0, c - 4), c + 4) for c in generator.integers(0, side, 3))
            cube = mask[x, y, z]
            num_hidden += cube.size - np.count_nonzero(cube)
            cube[...] = True
    return torch.from_numpy(masks).to(device)


def main() -> None:
    """Print times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--size", type=int, default=96, help="edge of the crop in voxels")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, side = options.device, options.size
    rows: list[tuple[str | int | float, ...]] = []
    for num in options.batch:
        random = CountedRandom(torch.arange(num, device=device))
        for name, strategy, loop in (
            ("grid_blocks", GridBlocks(EDGE, RATIO), loop_grid_blocks),
            ("random_cubes", RandomCubes(EDGE, RATIO), loop_random_cubes),
        ):
            rivals = {
                "batched": lambda s=strategy, r=random: s.draw((side, side, side), r),
                "loop": lambda f=loop, n=num: f(n, side, device),
            }
            taken = median_ms(rivals, num_rounds=options.rounds, device=device)
            ratio = taken["loop"] / taken["batched"]
            rows.append((name, num, taken["batched"], taken["loop"], ratio))
    print(f"\nMasks of {side}^3 voxels, medians of {options.rounds} rounds, {describe(device)}\n")
    print_table(("strategy", "batch", "batched ms", "loop ms", "loop / batched"), rows)


if __name__ == "__main__":
    main()
