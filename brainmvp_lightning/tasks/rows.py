"""Rows of a batch that are scored, and the modalities they are scored with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from brainmvp_lightning.batches import LabelledBatch


def scored_rows(batch: LabelledBatch) -> list[int]:
    """Return the rows that count; others only pad a step, or could not be read."""
    return [row for row, weight in enumerate(batch["weight"].tolist()) if weight > 0]


def modality_subsets(present: Tensor, *, every: bool) -> Iterator[Tensor]:
    """Yield which modalities a study is shown with, ``c`` each; first all it has.

    Args:
        present: What it has, ``c``, bool.
        every: Whether all smaller subsets but the empty one follow, the larger ones first.
    """
    yield present
    if not every:
        return
    channels = present.nonzero()[:, 0].tolist()
    for size in range(len(channels) - 1, 0, -1):
        for chosen in itertools.combinations(channels, size):
            subset = torch.zeros_like(present)
            subset[list(chosen)] = True
            yield subset
