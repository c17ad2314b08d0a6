"""Rows of all processes in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import distributed

T = TypeVar("T")


def gather_rows(rows: Sequence[T]) -> list[T]:
    """Return the rows of all processes, in the order of their ranks; all must call this."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(rows)
    gathered: list[list[T]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(gathered, list(rows))
    return [row for part in gathered for row in part]
