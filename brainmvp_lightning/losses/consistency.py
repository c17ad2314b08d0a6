"""How much two answers of a network about one study differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from brainmvp_lightning.losses.precision import at_least_float32


def consistency_loss(first: Sequence[Tensor], second: Sequence[Tensor], share: Tensor) -> Tensor:
    """Return how far the maps of two copies are apart, a scalar in float32 or finer.

    Both sides get gradients. If each process takes shares that sum to 1, the mean over processes is
    that of one process with the whole batch.

    Args:
        first: Maps of the first copies, each ``b ...``, such as the levels of a pyramid.
        second: Maps of the second copies, in the same order and of the same shapes.
        share: Share of each sample in the loss, ``b``.

    Returns:
        The sum over samples of share times the mean over maps of `squared_distance`.

    Raises:
        ValueError: If there is no map, or numbers or shapes differ.

    Source:
        BrainMVP, equation 7.
    """
    if not first or len(first) != len(second):
        raise ValueError(
            f"consistency compares maps one by one, but the copies have {len(first)} and "
            f"{len(second)}; hand over at least one of each"
        )
    distances = [squared_distance(one, other) for one, other in zip(first, second, strict=True)]
    means = torch.stack(distances).mean(dim=0)  # b
    return (torch.where(share > 0, means, 0.0) * share).sum()


def squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared L2 distance of each sample over its number of elements, ``b``.

    Args:
        first: ``b ...``.
        second: ``b ...``, of the same shape.

    Source:
        The norm of BrainMVP, equation 7. Its square over the number of elements, as the equations
        of pre-training are implemented, does not grow with the crop and has a gradient at 0.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"maps of the shapes {tuple(first.shape)} and {tuple(second.shape)} cannot be compared"
        )
    return (at_least_float32(first) - at_least_float32(second)).square().flatten(1).mean(dim=1)
