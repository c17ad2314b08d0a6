"""Rows of a tensor from all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

ALL_GATHER = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"
"""The collective that is used; torch 2.13 has given it another name."""


@torch.no_grad()
def gather_rows(rows: Tensor, capacity: int | None = None) -> tuple[Tensor, int]:
    """Collect rows over all processes of the default group, without gradient.

    Every process must call this, with the same type and number of columns; the number of rows may
    differ and may be 0. With a capacity this is one collective, for which no host waits. Without
    one, the processes first agree on the most rows that any of them has: a second collective, and
    each host waits for its result.

    Args:
        rows: Rows of this process, ``b k``.
        capacity: Most rows that any process can have, the same number on all of them.

    Returns:
        Rows of all processes in the order of their ranks, ``n k``, those of each filled up with
        zeros to the capacity, and the place of the first row of this process. Without a process
        group, `rows` itself and 0.

    Raises:
        ValueError: If there are more rows than the capacity.
    """
    if capacity is not None and len(rows) > capacity:
        raise ValueError(
            f"gather_rows: {len(rows)} rows do not fit a capacity of {capacity}; hand on the most "
            "rows that a batch of any process can have, or no capacity"
        )
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows, 0
    if capacity is None:
        capacity = _most_rows(rows)
    padded = rows.new_zeros(capacity, rows.shape[1])
    padded[: len(rows)] = rows
    gathered = rows.new_empty(dist.get_world_size() * capacity, rows.shape[1])
    if capacity > 0:
        getattr(dist, ALL_GATHER)(gathered, padded)
    return gathered, dist.get_rank() * capacity


def _most_rows(rows: Tensor) -> int:
    most = torch.tensor(len(rows), device=rows.device)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)
