"""Templates on other grids: another spacing, or the head resized to a shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from brainmvp_lightning.batches import Size

HEAD_LEVEL = 0.05
"""Intensity, of 1, above which a template shows the head."""
SLICE_SHARE = 0.005
"""Share of a slice that must show it; less is noise, as when studies are prepared."""


def resample(volumes: Tensor, reference: Sequence[int], scales: Sequence[float]) -> Tensor:
    """Interpolate linearly at another spacing; voxels outside count as 0.

    Args:
        volumes: ``s x y z``.
        reference: Voxel that stays where it is, and becomes voxel ``shape // 2`` of the result.
        scales: New voxels for each old one along x, y, z.

    Returns:
        ``s x y z``, large enough for all voxels of `volumes`.
    """
    for axis, (voxel, scale) in enumerate(zip(reference, scales, strict=True)):
        matrix = _interpolation(volumes.shape[1 + axis], voxel, scale).to(volumes)
        product = torch.tensordot(volumes, matrix, dims=([1 + axis], [1]))  # the axis goes last
        volumes = product.movedim(-1, 1 + axis)
    return volumes.contiguous()


def _interpolation(length: int, reference: int, scale: float) -> Tensor:
    """Return the matrix that interpolates along an axis, ``new old``, float64."""
    # Rounding must not add a voxel where a product is whole but for its last digit.
    below = math.ceil(reference * scale - 1e-6)
    above = math.ceil((length - 1 - reference) * scale - 1e-6)
    centre = max(below, above)
    new_length = max(centre + above + 1, 2 * centre)  # its half is `centre`
    steps = torch.arange(new_length, dtype=torch.float64) - centre
    distance = (reference + steps / scale)[:, None] - torch.arange(length, dtype=torch.float64)
    return (1 - distance.abs()).clamp(min=0)


def head_box(volumes: Tensor) -> tuple[list[int], list[int]]:
    """Return start and stop of the box around the head in any of the templates.

    Args:
        volumes: ``s x y z``, in [0, 1].

    Raises:
        ValueError: If no voxel shows a head.
    """
    is_head = (volumes > HEAD_LEVEL).any(dim=0)  # x y z
    start, stop = [], []
    for axis, side in enumerate(is_head.shape):
        others = [other for other in range(3) if other != axis]
        counts = is_head.sum(dim=others)
        places = (counts > SLICE_SHARE * is_head.numel() / side).nonzero()[:, 0]
        if len(places) == 0:
            raise ValueError(
                f"the templates show no head: hardly any voxel is above {HEAD_LEVEL}; use others, "
                "or none, which fills missing modalities with zeros"
            )
        start.append(int(places[0]))
        stop.append(int(places[-1]) + 1)
    return start, stop


def resize(volumes: Tensor, start: Sequence[int], stop: Sequence[int], shape: Size) -> Tensor:
    """Resize a box of templates, ``s x y z``; outer edges stay where they are, as in the data."""
    x, y, z = (slice(first, last) for first, last in zip(start, stop, strict=True))
    box = volumes[None, :, x, y, z]
    return functional.interpolate(box, size=shape, mode="trilinear", align_corners=False)[0]
