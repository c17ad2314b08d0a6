"""Rows of a tensor from all processes, with gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Collect rows over all processes of the default group.

    Every process must call this, with the same number of columns; the number of rows may differ and
    may be 0. The gradient of a row is the sum over what all processes made of it.

    Args:
        rows: Rows of this process, ``b k``.

    Returns:
        Rows of all processes in the order of their ranks, ``n k``, and the place of the first row
        of this process. Without a process group, `rows` itself and 0.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows, 0
    own = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, own)
    # The one place where the host waits for the device: how many rows come is not known otherwise.
    num_rows = torch.cat(sizes).tolist()
    gathered: Tensor = _GatherRows.apply(rows, num_rows)  # type: ignore[no-untyped-call]
    return gathered, sum(num_rows[: dist.get_rank()])


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, num_rows: list[int]) -> Tensor:  # noqa: ANN401 - torch's
        start = sum(num_rows[: dist.get_rank()])
        ctx.own = slice(start, start + len(rows))
        padded = rows.new_zeros(max(num_rows), rows.shape[1])  # processes exchange equal shapes
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in num_rows]
        dist.all_gather(parts, padded)
        return torch.cat([part[:num] for part, num in zip(parts, num_rows, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own], None
