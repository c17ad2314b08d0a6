"""First layers made for some modalities to first layers for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from brainmvp_lightning.weights.errors import WeightsError

StemPolicy = Literal["inflate_mean", "per_modality", "reinit"]


def adapt_stem(
    kernel: Tensor,
    source: Sequence[str] | None,
    target: Sequence[str] | int,
    policy: StemPolicy = "inflate_mean",
) -> Tensor | None:
    """Make the weights of a first layer fit the channels of other images.

    Where both have the same modalities, each channel keeps its kernel; where only the number of
    channels is known and agrees, the weights are taken as they are.

    Args:
        kernel: Weights ``o c ...``, axis 1 the channels of the images it was trained on.
        source: Modalities of these channels; None if they are not known.
        target: Modalities of the new channels, or their number.
        policy: ``"inflate_mean"`` gives each channel the mean kernel, scaled so that equal channels
            are answered as before. ``"per_modality"`` gives each channel the kernel of its
            modality, and the mean to those that the source lacks; the kernel of a source with one
            channel goes to each at full strength. ``"reinit"`` takes nothing (published code).

    Returns:
        Weights ``o len(target) ...``; None if the layer is to stay as initialised.

    Raises:
        WeightsError: If there is no such policy, or modalities are not known that it needs.
    """
    if policy not in get_args(StemPolicy):
        known = ", ".join(get_args(StemPolicy))
        raise WeightsError(f"there is no stem policy {policy!r}; choose one of: {known}")
    if policy == "reinit":
        return None
    count = target if isinstance(target, int) else len(target)
    names = None if isinstance(target, int) else tuple(target)
    known_source = None if source is None else tuple(source)
    if known_source is not None and len(known_source) != kernel.shape[1]:
        known_source = None
    if known_source is not None and names is not None and set(known_source) == set(names):
        is_same = known_source == names
        return kernel if is_same else _by_modality(kernel, known_source, names)
    if count == kernel.shape[1] and (known_source is None or names is None):
        return kernel
    if policy == "inflate_mean":
        total = kernel.sum(dim=1, keepdim=True)
        return (total / count).expand(-1, count, *kernel.shape[2:]).contiguous()
    return _place_by_modality(kernel, known_source, names, count)


def is_order_assumed(
    kernel: Tensor, source: Sequence[str] | None, target: Sequence[str] | int
) -> bool:
    """Tell whether `adapt_stem` takes several channels as they are without knowing which they are.

    Args:
        kernel: As there.
        source: As there.
        target: As there.
    """
    channels = kernel.shape[1]
    count = target if isinstance(target, int) else len(target)
    is_known = source is not None and len(source) == channels and not isinstance(target, int)
    return channels > 1 and channels == count and not is_known


def _place_by_modality(
    kernel: Tensor, source: tuple[str, ...] | None, target: tuple[str, ...] | None, count: int
) -> Tensor:
    if kernel.shape[1] == 1:
        return kernel.expand(-1, count, *kernel.shape[2:]).contiguous()
    if source is None or target is None:
        raise WeightsError(
            f"it does not say which modalities the {kernel.shape[1]} channels of its first layer "
            "are, which stem policy 'per_modality' needs; use 'inflate_mean'"
        )
    return _by_modality(kernel, source, target)


def _by_modality(kernel: Tensor, source: tuple[str, ...], target: tuple[str, ...]) -> Tensor:
    mean = kernel.mean(dim=1)
    channels = [kernel[:, source.index(name)] if name in source else mean for name in target]
    return torch.stack(channels, dim=1)
