"""Voxels between voxels: along the axes, or across them where a scan is tilted.

Both kernels work on the wanted box alone and plane by plane, so that what is needed stays in the
cache, and both read the scan in the order in which it lies in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.geometry import Box
from brainmvp_lightning.preprocessing.layout import forwards, memory_order
from brainmvp_lightning.preprocessing.recipe import Interpolation
from brainmvp_lightning.volumes.transform import Affine

Indices = NDArray[np.intp]

_BAND = 48  # rows of a band matrix that are multiplied at once; more would multiply more zeros
_TIE = 1e-9  # of a voxel; halfway between two, the same is the nearest in whatever direction


def is_inside(position: NDArray[Any], length: int | NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which fractional indices lie in a field of view, outer half voxels included."""
    inside: NDArray[np.bool_] = (position >= -0.5) & (position <= length - 0.5)
    return inside


@dataclass(frozen=True)
class _Line:
    """Where the wanted voxels lie along one axis of a scan, counted from its first voxel needed.

    Args:
        needed: Voxels of the scan that are needed.
        lower: The voxel before each position.
        weight: Share of the voxel after it, float32.
        nearest: The voxel closest to it.
        hidden: Beyond the field of view.
    """

    needed: slice
    lower: Indices
    weight: NDArray[np.float32]
    nearest: Indices
    hidden: NDArray[np.bool_]

    def upper(self) -> Indices:
        """Return the voxel after each position, or the one before where that is the last."""
        last = self.needed.stop - self.needed.start - 1
        upper: Indices = np.minimum(self.lower + 1, last)
        return upper

    def bands(self) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
        """Yield pieces of the matrix that interpolates along this axis: rows, columns, piece."""
        upper = self.upper()
        for begin in range(0, len(self.lower), _BAND):
            rows = slice(begin, min(begin + _BAND, len(self.lower)))
            columns = slice(int(self.lower[rows].min()), int(upper[rows].max()) + 1)
            piece = np.zeros((rows.stop - begin, columns.stop - columns.start), np.float32)
            places = np.arange(len(piece))
            piece[places, self.lower[rows] - columns.start] += 1 - self.weight[rows]
            piece[places, upper[rows] - columns.start] += self.weight[rows]
            yield rows, columns, piece


def _line(scale: float, offset: float, ends: tuple[int, int], length: int, step: int) -> _Line:
    position = scale * np.arange(*ends) + offset
    hidden = ~is_inside(position, length)
    position = np.clip(position, 0, length - 1)
    nearest = np.floor(position + 0.5).astype(np.intp)
    if step < 0:  # counted from the other end, from which the voxels run forwards in memory
        position, nearest = length - 1 - position, length - 1 - nearest
    lower = position.astype(np.intp)
    first, last = int(lower.min()), min(int(lower.max()) + 2, length)
    weight = (position - lower).astype(np.float32)
    return _Line(slice(first, last), lower - first, weight, nearest - first, hidden)


def separable(
    array: NDArray[Any], matrix: Affine, box: Box, outside: float, interpolation: Interpolation
) -> NDArray[Any]:
    """Interpolate where each axis is scaled and shifted on its own.

    Args:
        array: The scan, ``x y z``, turned to RAS.
        matrix: From indices of the grid to those of the scan, 4 x 4; off the diagonal it counts
            as 0.
        box: Part of the grid that is wanted.
        outside: Number for voxels beyond the scan.
        interpolation: Rule between voxels.
    """
    ahead = forwards(array)
    lines = [
        _line(
            float(matrix[axis, axis]),
            float(matrix[axis, 3]),
            (box[0][axis], box[1][axis]),
            array.shape[axis],
            ahead[axis].step,
        )
        for axis in range(3)
    ]
    slow, middle, fast = memory_order(array)
    part = array[ahead][tuple(line.needed for line in lines)].transpose(slow, middle, fast)
    rest = sorted((middle, fast))
    target = np.dtype(np.float32) if interpolation == "linear" else array.dtype
    part = np.ascontiguousarray(part, target)
    values = np.empty([len(lines[axis].lower) for axis in (slow, *rest)], target)
    ordered = (lines[slow], lines[middle], lines[fast])
    fill = _fill_linear if interpolation == "linear" else _fill_nearest
    fill(part, values, ordered, middle > fast)
    upright = values.transpose(np.argsort((slow, *rest)))
    for axis, line in enumerate(lines):
        if line.hidden.any():
            np.moveaxis(upright, axis, 0)[line.hidden] = outside
    return upright


def _fill_nearest(
    part: NDArray[Any], values: NDArray[Any], lines: Sequence[_Line], is_turned: bool
) -> None:
    """Take the nearest voxels; `is_turned` swaps the last two axes of `values`."""
    slow, middle, fast = lines
    places = middle.nearest[:, None] * part.shape[2] + fast.nearest
    places = np.ascontiguousarray(places.T) if is_turned else places
    for index, plane in zip(slow.nearest, values, strict=True):
        np.take(part[index].ravel(), places, out=plane, mode="clip")


def _fill_linear(
    part: NDArray[Any], values: NDArray[Any], lines: Sequence[_Line], is_turned: bool
) -> None:
    """Interpolate along one axis after the other; `is_turned` swaps the last two of `values`."""
    slow, middle, fast = lines
    upper, after = slow.upper(), middle.upper()
    weights = middle.weight[:, None]
    bands = list(fast.bands())
    plane = np.empty(part.shape[1:], np.float32)
    rows, step = (np.empty((len(weights), part.shape[2]), np.float32) for _ in range(2))
    for index, result in enumerate(values):
        before = part[slow.lower[index]]
        np.subtract(part[upper[index]], before, out=plane)
        plane *= slow.weight[index]
        plane += before
        np.take(plane, middle.lower, axis=0, out=rows, mode="clip")
        np.take(plane, after, axis=0, out=step, mode="clip")
        step -= rows
        step *= weights
        rows += step
        for place, columns, piece in bands:
            if is_turned:
                np.matmul(piece, rows[:, columns].T, out=result[place])
            else:
                np.matmul(rows[:, columns], piece.T, out=result[:, place])


def oblique(
    array: NDArray[Any], matrix: Affine, box: Box, outside: float, interpolation: Interpolation
) -> NDArray[Any]:
    """Interpolate where the axes are tilted; arguments as those of `separable`."""
    lengths, matrix, ahead = np.array(array.shape), matrix.copy(), forwards(array)
    for axis in range(3):
        if ahead[axis].step < 0:  # count from the other end, from which memory runs forwards
            matrix[axis] *= -1
            matrix[axis, 3] += lengths[axis] - 1 - _TIE
    ends = _corner_positions(matrix, box)
    first = np.clip(np.floor(ends.min(axis=1)).astype(np.intp), 0, lengths - 2)
    last = np.clip(np.floor(ends.max(axis=1)).astype(np.intp) + 2, first + 2, lengths)
    order = memory_order(array)
    dtype = np.dtype(np.float32) if interpolation == "linear" else array.dtype
    needed = array[ahead][tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    part = np.ascontiguousarray(needed.transpose(order), dtype)
    steps = np.empty(3, np.intp)
    steps[list(order)] = np.array(part.strides) // part.itemsize
    values = np.empty(np.subtract(box[1], box[0]), dtype)
    fill = _oblique_linear if interpolation == "linear" else _oblique_nearest
    matrix[:3, 3] -= first
    planes = _plane_positions(matrix, box)
    lowest, highest = (
        np.array([extreme(plane) for plane in planes]) for extreme in (np.min, np.max)
    )
    low, high = -first, lengths - first
    for x, plane in enumerate(values, start=box[0][0]):
        shift = matrix[:3, 0] * x
        positions = [position + step for position, step in zip(planes, shift, strict=True)]
        if (lowest + shift >= low).all() and (highest + shift < high - 1).all():
            fill(part.ravel(), positions, steps, plane)
            continue
        ranges = list(zip(positions, low, high, strict=True))
        # Clipped just below the last voxel, which then is the one after the position.
        clipped = [np.clip(p, start, np.nextafter(stop - 1, 0)) for p, start, stop in ranges]
        fill(part.ravel(), clipped, steps, plane)
        inside = [is_inside(p - start, stop - start) for p, start, stop in ranges]
        plane[~np.logical_and.reduce(inside)] = outside
    return values


def _corner_positions(matrix: Affine, box: Box) -> NDArray[np.float64]:
    """Return where the corners of the box lie in the scan; between them lies everything else."""
    ends = zip(box[0], np.subtract(box[1], 1), strict=True)
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*ends, indexing="ij")])
    positions: NDArray[np.float64] = matrix[:3, :3] @ corners + matrix[:3, 3:]
    return positions


def _plane_positions(matrix: Affine, box: Box) -> list[NDArray[np.float64]]:
    """Return where the grid's voxels at x = 0 lie in the scan, ``y z`` for each of its axes."""
    y = np.arange(box[0][1], box[1][1], dtype=np.float64)[:, None]
    z = np.arange(box[0][2], box[1][2], dtype=np.float64)
    return [(row[3] + row[1] * y) + row[2] * z for row in matrix[:3]]


def _oblique_nearest(
    flat: NDArray[Any],
    positions: list[NDArray[np.float64]],
    steps: Indices,
    plane: NDArray[Any],
) -> None:
    # Summed as floating point numbers, which hold whole numbers up to 2^53.
    places = sum(
        np.floor(position + 0.5) * step for position, step in zip(positions, steps, strict=True)
    )
    np.take(flat, np.asarray(places).astype(np.intp), out=plane, mode="clip")


def _oblique_linear(
    flat: NDArray[Any],
    positions: list[NDArray[np.float64]],
    steps: Indices,
    plane: NDArray[Any],
) -> None:
    before = [np.floor(position) for position in positions]
    weights = [(p - low).astype(np.float32) for p, low in zip(positions, before, strict=True)]
    places = sum(low * step for low, step in zip(before, steps, strict=True))
    places = np.asarray(places).astype(np.intp)
    # Eight voxels around each position become four, two, one.
    offsets = [int(np.dot(corner, steps)) for corner in np.ndindex(2, 2, 2)]
    around = [np.take(flat[offset:], places, mode="clip") for offset in offsets]
    for weight in reversed(weights):
        around = [
            _between(before, after, weight)
            for before, after in zip(around[::2], around[1::2], strict=True)
        ]
    plane[...] = around[0]


def _between(
    before: NDArray[np.float32], after: NDArray[np.float32], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    after -= before
    after *= weight
    after += before
    return after
