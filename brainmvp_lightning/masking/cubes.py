"""Algorithm 1 for a whole batch at once: cubes are dropped until their union holds a share."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from brainmvp_lightning.batches import Size


def hide_until(centres: Tensor, size: Size, block_size: int, ratio: float) -> Tensor:
    """Drop cubes in order until their union holds a share of the image.

    Instead of one cube after the other, this finds for each voxel the first cube that covers it
    (the least rank among the centres of its neighbourhood), then from the histogram of these ranks
    the cube that reaches the share.

    Args:
        centres: Centres in order, ``b n 3``; a cube of edge r reaches from ``c - r // 2`` on.
        size: Voxels of the image, ``(x, y, z)``.
        block_size: Edge of a cube in voxels.
        ratio: Share to reach; all is hidden where no cube reaches it.

    Returns:
        True where hidden, ``b 1 x y z``.
    """
    first = _first_cube(centres, size, block_size).flatten(1)  # b v, rank of the first cube
    needed = math.ceil(ratio * math.prod(size) - 1e-6)
    num_ranks = centres.shape[1] + 1
    num_new = torch.zeros(len(first), num_ranks, dtype=torch.int32, device=first.device)
    offset = torch.arange(len(first), dtype=torch.int32, device=first.device)[:, None] * num_ranks
    one = torch.ones((), dtype=torch.int32, device=first.device).expand(first.numel())
    num_new.view(-1).index_add_(0, (first + offset).flatten(), one)  # voxels that each cube adds
    last = (num_new.cumsum(dim=1) < needed).sum(dim=1, keepdim=True)
    return (first <= last.to(first.dtype)).view(-1, 1, *size)


def _first_cube(centres: Tensor, size: Size, block_size: int) -> Tensor:
    """Return the rank of the first cube over each voxel, ``b x y z``; ``n`` where there is none."""
    batch, num, _ = centres.shape
    # Small integers halve the time, which is all memory traffic.
    dtype = torch.int16 if num < 2**15 else torch.int32
    padded = [side + block_size - 1 for side in size]
    # Voxel v is in the cubes with centres from v - (r - 1 - r // 2) to v + r // 2.
    place = centres + (block_size - 1 - block_size // 2)
    flat = (place[..., 0] * padded[1] + place[..., 1]) * padded[2] + place[..., 2]  # b n
    ranks = torch.full((batch, math.prod(padded)), num, dtype=dtype, device=centres.device)
    rank = torch.arange(num, dtype=dtype, device=centres.device).expand(batch, -1)
    ranks = ranks.scatter_reduce_(1, flat, rank, "amin").view(batch, *padded)
    for dim in (3, 2, 1):
        ranks = _sliding_minimum(ranks, dim, block_size)
    return ranks


def _sliding_minimum(values: Tensor, dim: int, width: int) -> Tensor:
    """Return the minimum of each whole window of `width` along `dim`, in log2(width) steps."""
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        length = values.shape[dim] - step
        values = torch.minimum(values.narrow(dim, 0, length), values.narrow(dim, step, length))
        covered += step
    return values


@functools.lru_cache(maxsize=64)
def num_candidates(size: Size, block_size: int, ratio: float) -> int:
    """Return how many random cubes hide the share as good as always.

    That is the number n at which the expected union holds the share, and a margin of 10 % plus
    8 sqrt(n): measured standard deviations of the number needed are below sqrt(n).
    """
    low, high = 0, 1
    while _expected_share(size, block_size, high) < ratio:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        reaches = _expected_share(size, block_size, middle) >= ratio
        low, high = (low, middle) if reaches else (middle, high)
    return math.ceil(1.1 * high + 8 * math.sqrt(high))


def _expected_share(size: Size, block_size: int, num_cubes: int) -> float:
    """Return the mean share of the image under the union of random cubes."""
    hit, weight = np.ones(1), np.ones(1)
    for side in size:
        voxel = np.arange(side)
        first = np.maximum(voxel - (block_size - 1 - block_size // 2), 0)
        last = np.minimum(voxel + block_size // 2, side - 1)
        # Only voxels near the border differ, so few distinct values stand for the whole axis.
        num_centres, counts = np.unique(last - first + 1, return_counts=True)
        hit = np.outer(hit, num_centres / side).ravel()
        weight = np.outer(weight, counts / side).ravel()
    return float((weight * (1 - (1 - hit) ** num_cubes)).sum())
