"""Voxels of a scan on the grid of its study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.geometry import (
    Box,
    Grid,
    common_box,
    index_map,
    is_separable,
    slices_of,
    to_box,
    to_ras,
    whole_shift,
    within,
)
from brainmvp_lightning.preprocessing.interpolation import is_inside, oblique, separable
from brainmvp_lightning.preprocessing.recipe import Interpolation
from brainmvp_lightning.volumes.nifti import Volume
from brainmvp_lightning.volumes.records import Size
from brainmvp_lightning.volumes.transform import Affine

MAX_PROBES = 2**18  # points of the grid at which a shared field of view is looked for


@dataclass(frozen=True)
class Placed:
    """A scan on the grid of its study; real intensity = `array` * `slope` + `intercept`.

    Args:
        array: ``x y z``: the file's own numbers if they were only moved, else float32.
        slope: Scaling of numbers that were only moved, else 1.
        intercept: Offset of numbers that were only moved, else 0.
        is_exact: No voxel was interpolated.
    """

    array: NDArray[Any]
    slope: float
    intercept: float
    is_exact: bool


@dataclass(frozen=True)
class Route:
    """The way from the grid of a study to the voxels of a scan.

    Args:
        grid: Voxels of the grid.
        matrix: From indices of the grid to those of the scan, RAS, 4 x 4.
        shift: The same in whole voxels, if it is no more than that.
        is_separable: Each axis is scaled and shifted on its own.
    """

    grid: Size
    matrix: Affine
    shift: Size | None
    is_separable: bool


def find_route(affine: Affine, grid: Grid) -> Route:
    """Return the way from a grid to the voxels of a scan.

    Args:
        affine: Of the scan, turned to RAS.
        grid: Of the study.
    """
    matrix = index_map(affine, grid)
    shift = whole_shift(matrix, grid.shape)
    return Route(grid.shape, matrix, shift, is_separable(matrix, grid.shape))


def place(
    volume: Volume, grid: Grid, outside: float, interpolation: Interpolation, box: Box | None = None
) -> Placed:
    """Bring a volume onto a grid.

    Where both have the same voxels, the file's numbers are kept bit by bit; otherwise they are
    interpolated in world coordinates. The half voxel between the outer voxel centres and the edge
    of the field of view repeats the outer voxel.

    Args:
        volume: What was read.
        grid: Where it goes.
        outside: Number, in the file's own scale, for voxels beyond the scan's field of view.
        interpolation: Rule between voxels.
        box: Part of the grid that is wanted; all of it if None.
    """
    array, affine = to_ras(volume.array, volume.affine)
    everything = ((0, 0, 0), grid.shape)
    turned = replace(volume, array=array, affine=affine)
    route = find_route(affine, grid)
    return place_along(turned, route, box or everything, outside, interpolation)


def place_along(
    volume: Volume, route: Route, box: Box, outside: float, interpolation: Interpolation
) -> Placed:
    """Bring a volume whose axes are turned to RAS onto a box of a grid, as `place` does."""
    array = sample(volume.array, route, box, outside, interpolation)
    is_exact = route.shift is not None
    if is_exact or interpolation == "nearest":
        return Placed(array, volume.slope, volume.intercept, is_exact)
    return Placed(replace(volume, array=array).real(), 1.0, 0.0, is_exact)


def sample(
    array: NDArray[Any], route: Route, box: Box, outside: float, interpolation: Interpolation
) -> NDArray[Any]:
    """Return the voxels of a scan at a box of the grid, interpolated only if need be.

    Args:
        array: The scan, turned to RAS.
        route: Way from the grid to it.
        box: Part of the grid that is wanted.
        outside: Number for voxels beyond the scan.
        interpolation: Rule between voxels.

    Returns:
        ``x y z`` in the file's own type, or float32 where interpolated linearly; the order in
        memory is whatever was fast. Voxels that were only moved may be a view.
    """
    if route.shift is not None:
        return _moved(array, route.shift, box, outside)
    if route.is_separable:
        return separable(array, route.matrix, box, outside, interpolation)
    return oblique(array, route.matrix, box, outside, interpolation)


def _moved(array: NDArray[Any], shift: Size, box: Box, outside: float) -> NDArray[Any]:
    wanted = to_box(np.add(box[0], shift), np.add(box[1], shift))  # in voxels of the scan
    shared = common_box(wanted, to_box((0, 0, 0), array.shape))
    if shared == wanted:
        return array[slices_of(wanted)]
    placed = np.full(np.subtract(box[1], box[0]), outside, array.dtype)
    if shared is not None:
        placed[slices_of(within(shared, wanted))] = array[slices_of(shared)]
    return placed


def shared_field(shape: Size, route: Route, start: Size = (0, 0, 0)) -> float:
    """Return which share of the smaller field of view, scan or grid, both cover.

    Counted in voxels of the grid; for oblique scans on large grids, at a lattice of them.

    Args:
        shape: Voxels of the whole scan, RAS.
        route: Way from the grid to a part of it.
        start: First voxel of that part.
    """
    matrix = route.matrix.copy()
    matrix[:3, 3] += start
    # One voxel of the grid is det(matrix) voxels of the scan.
    scan_voxels = float(np.prod(shape)) / abs(float(np.linalg.det(matrix[:3, :3])))
    smaller = min(scan_voxels, float(np.prod(route.grid)))
    is_straight = route.is_separable or route.shift is not None
    count = _count_straight if is_straight else _count_tilted
    return min(1.0, count(shape, matrix, route.grid) / smaller)


def shared_by(volume: Volume, grid: Grid) -> float:
    """Return which share of the smaller field of view, that of a volume or a grid, both cover."""
    array, affine = to_ras(volume.array, volume.affine)
    x, y, z = array.shape
    return shared_field((x, y, z), find_route(affine, grid))


def _count_straight(shape: Size, matrix: Affine, grid: Size) -> float:
    counts = [
        np.count_nonzero(is_inside(matrix[a, a] * np.arange(grid[a]) + matrix[a, 3], shape[a]))
        for a in range(3)
    ]
    return float(np.prod(counts, dtype=np.float64))


def _count_tilted(shape: Size, matrix: Affine, grid: Size) -> float:
    size = float(np.prod(grid, dtype=np.float64))
    stride = max(1, round((size / MAX_PROBES) ** (1 / 3)))
    axes = [np.arange((n - 1) % stride // 2, n, stride, dtype=np.float64) for n in grid]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    inside = np.ones((x.size, y.size, z.size), np.bool_)
    for row, length in zip(matrix[:3], shape, strict=True):
        inside &= is_inside(row[0] * x + row[1] * y + row[2] * z + row[3], length)
    return float(np.count_nonzero(inside)) / inside.size * size
