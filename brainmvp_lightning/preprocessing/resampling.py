"""Voxels of a scan on the grid of its study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.preprocessing.geometry import (
    Grid,
    index_map,
    is_separable,
    to_ras,
    whole_shift,
)
from brainmvp_lightning.preprocessing.recipe import Interpolation
from brainmvp_lightning.volumes.nifti import Volume
from brainmvp_lightning.volumes.records import Size
from brainmvp_lightning.volumes.transform import Affine


@dataclass(frozen=True)
class Placed:
    """A scan on the grid of its study; real intensity = `array` * `slope` + `intercept`.

    Args:
        array: ``x y z``: the file's own numbers if they were only moved, else float32.
        slope: Scaling of numbers that were only moved, else 1.
        intercept: Offset of numbers that were only moved, else 0.
        overlap: Share of the smaller field of view, scan or grid, that both cover.
        is_exact: No voxel was interpolated.
    """

    array: NDArray[Any]
    slope: float
    intercept: float
    overlap: float
    is_exact: bool


def place(volume: Volume, grid: Grid, outside: float, interpolation: Interpolation) -> Placed:
    """Bring a volume onto a grid.

    Where both have the same voxels, the file's numbers are kept bit by bit; otherwise they are
    interpolated in world coordinates. The half voxel between the outer voxel centres and the edge
    of the field of view repeats the outer voxel.

    Args:
        volume: What was read.
        grid: Where it goes.
        outside: Number, in the file's own scale, for voxels beyond the scan's field of view.
        interpolation: Rule between voxels.
    """
    array, affine = to_ras(volume.array, volume.affine)
    matrix = index_map(affine, grid)
    shift = whole_shift(matrix, grid.shape)
    if shift is not None:
        placed, inside = _moved(array, shift, grid.shape, outside)
    elif is_separable(matrix, grid.shape):
        placed, inside = _separable(array, matrix, grid.shape, outside, interpolation)
    else:
        placed, inside = _oblique(array, matrix, grid.shape, outside, interpolation)
    overlap = _overlap(inside, array.shape, grid.shape, matrix)
    if shift is not None or interpolation == "nearest":
        return Placed(placed, volume.slope, volume.intercept, overlap, is_exact=shift is not None)
    real = Volume(placed, affine, volume.slope, volume.intercept).real()
    return Placed(real, 1.0, 0.0, overlap, is_exact=False)


def _overlap(inside: float, scan: tuple[int, ...], grid: Size, matrix: Affine) -> float:
    # Counted in voxels of the grid; one of them is det(matrix) voxels of the scan.
    scan_voxels = float(np.prod(scan)) / abs(float(np.linalg.det(matrix[:3, :3])))
    return min(1.0, inside / min(scan_voxels, float(np.prod(grid))))


def _moved(
    array: NDArray[Any], shift: tuple[int, int, int], shape: Size, outside: float
) -> tuple[NDArray[Any], float]:
    if not any(shift) and array.shape == shape:
        return np.ascontiguousarray(array), float(array.size)
    first = [max(0, -offset) for offset in shift]
    last = [
        max(begin, min(extent, length - offset))
        for begin, extent, length, offset in zip(first, shape, array.shape, shift, strict=True)
    ]
    target = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    source = tuple(slice(a + s, b + s) for a, b, s in zip(first, last, shift, strict=True))
    placed = np.full(shape, outside, array.dtype)
    placed[target] = array[source]
    return placed, float(placed[target].size)


def _separable(
    array: NDArray[Any], matrix: Affine, shape: Size, outside: float, interpolation: Interpolation
) -> tuple[NDArray[Any], float]:
    values = array
    hidden: list[NDArray[np.bool_]] = []
    for axis in range(3):
        position = matrix[axis, axis] * np.arange(shape[axis]) + matrix[axis, 3]
        hidden.append(~_is_inside(position, array.shape[axis]))
        values = _along(values, np.clip(position, 0, array.shape[axis] - 1), axis, interpolation)
    values = np.ascontiguousarray(values)
    for axis, mask in enumerate(hidden):
        np.moveaxis(values, axis, 0)[mask] = outside
    return values, float(np.prod([np.count_nonzero(~mask) for mask in hidden]))


def _along(
    array: NDArray[Any], position: NDArray[np.float64], axis: int, interpolation: Interpolation
) -> NDArray[Any]:
    if interpolation == "nearest":
        nearest: NDArray[Any] = np.take(array, np.floor(position + 0.5).astype(np.intp), axis)
        return nearest
    lower = np.minimum(position.astype(np.intp), array.shape[axis] - 1)
    upper = np.minimum(lower + 1, array.shape[axis] - 1)
    weight = (position - lower).astype(np.float32)
    weight = weight.reshape([-1 if other == axis else 1 for other in range(3)])
    first = np.take(array, lower, axis).astype(np.float32, copy=False)
    step: NDArray[Any] = np.take(array, upper, axis).astype(np.float32, copy=False)
    step -= first
    step *= weight
    step += first
    return step


def _oblique(
    array: NDArray[Any], matrix: Affine, shape: Size, outside: float, interpolation: Interpolation
) -> tuple[NDArray[Any], float]:
    is_nearest = interpolation == "nearest"
    values: NDArray[Any] = ndimage.affine_transform(
        array if is_nearest else array.astype(np.float32, copy=False),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=shape,
        order=0 if is_nearest else 1,
        mode="nearest",
    )
    inside = np.ones(shape, np.bool_)
    axes = [np.arange(extent, dtype=np.float32) for extent in shape]
    lines = np.meshgrid(*axes, indexing="ij", sparse=True)
    for row, length in zip(matrix[:3].astype(np.float32), array.shape, strict=True):
        position = sum(scale * line for scale, line in zip(row[:3], lines, strict=True)) + row[3]
        inside &= _is_inside(position, length)
    values[~inside] = outside
    return values, float(np.count_nonzero(inside))


def _is_inside(position: NDArray[Any], length: int) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (position >= -0.5) & (position <= length - 0.5)
    return inside
