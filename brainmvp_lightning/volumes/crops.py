"""A crop of a stored volume, which may reach beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.frame import OpenFrame
from brainmvp_lightning.volumes.records import CachedScan, Clip


@dataclass(frozen=True)
class Overlap:
    """The part of a crop that lies inside a volume.

    Args:
        start: Its first voxel in the volume.
        stop: One past its last voxel in the volume.
        target: Its place in the crop.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    target: tuple[slice, ...]


def overlap(shape: Sequence[int], start: Sequence[int], size: Sequence[int]) -> Overlap | None:
    """Return where a crop and a volume overlap, or None if they do not.

    Args:
        shape: Voxels of the volume.
        start: First voxel of the crop in the volume; may be negative or beyond its end.
        size: Voxels of the crop.
    """
    first = tuple(max(0, begin) for begin in start)
    last = tuple(
        min(edge, begin + extent) for edge, begin, extent in zip(shape, start, size, strict=True)
    )
    if any(a >= b for a, b in zip(first, last, strict=True)):
        return None
    target = tuple(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True))
    return Overlap(first, last, target)


def fill_crop(frame: OpenFrame, start: Sequence[int], crop: NDArray[Any], outside: int) -> None:
    """Decode the stored integers of a crop into an array.

    Args:
        frame: The volume.
        start: First voxel of the crop in the volume; may be negative or beyond its end.
        crop: Filled, ``x y z``.
        outside: Value of voxels beyond the volume.
    """
    inside = overlap(frame.shape, start, crop.shape)
    if inside is None:
        crop.fill(outside)
        return
    extent = tuple(b - a for a, b in zip(inside.start, inside.stop, strict=True))
    if extent != crop.shape:
        crop.fill(outside)
    frame.decode_into(crop[inside.target], inside.start, inside.stop)


def map_crop(
    frame: OpenFrame, start: Sequence[int], size: Sequence[int], mapping: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return a crop in other units, ``x y z``.

    Args:
        frame: The volume.
        start: First voxel of the crop in the volume; may be negative or beyond its end.
        size: Voxels of the crop.
        mapping: Scale and offset of the stored integers, and the value of voxels beyond the volume.
    """
    scale, offset, outside = mapping
    inside = overlap(frame.shape, start, size)
    if inside is None:
        return np.full(tuple(size), outside, np.float32)
    voxels = frame.decode(inside.start, inside.stop)
    crop = np.empty(tuple(size), np.float32)
    if voxels.shape != crop.shape:
        crop.fill(outside)
    target = crop[inside.target]
    np.multiply(voxels, np.float32(scale), out=target)
    target += np.float32(offset)
    return crop


def unit_crop(
    frame: OpenFrame, scan: CachedScan, start: Sequence[int], size: Sequence[int], clip: Clip
) -> NDArray[np.float32]:
    """Return a crop clipped at two percentiles and scaled to [0, 1]; see `Cache.read_unit_crop`."""
    mapping = scan.unit_mapping(clip)
    if mapping is not None:
        crop = map_crop(frame, start, size, (*mapping, 0.0))
        return np.clip(crop, 0.0, 1.0, out=crop)
    real = map_crop(frame, start, size, (scan.slope, scan.intercept, -np.inf))
    return (real >= scan.bounds(clip)[1]).astype(np.float32)
