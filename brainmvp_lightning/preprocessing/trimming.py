"""The part of a scan that holds anything: of a bare brain's file four fifths are zeros."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.geometry import Box, slices_of, to_box, to_ras
from brainmvp_lightning.preprocessing.layout import forwards, in_c_order, memory_order
from brainmvp_lightning.volumes.nifti import Volume
from brainmvp_lightning.volumes.records import Size
from brainmvp_lightning.volumes.transform import Affine

WORTHWHILE = 0.7  # a part larger than this share of the volume is not worth a copy


@dataclass(frozen=True)
class Part:
    """A block of voxels beyond which a scan is 0.

    Args:
        volume: The block, its axes turned to RAS, with its own transform; a layer of zeros belongs
            to it, wherever the scan goes on, so that interpolation at its edge is right.
        start: First voxel of the block in the scan, RAS.
        full_shape: Voxels of the scan, RAS.
    """

    volume: Volume
    start: Size
    full_shape: Size

    @property
    def num_outside(self) -> int:
        """Voxels of the scan that are not in the block; all are 0."""
        return math.prod(self.full_shape) - self.volume.array.size

    @property
    def full_affine(self) -> Affine:
        """Voxel index of the whole scan to millimetres."""
        affine: Affine = self.volume.affine @ _step(np.negative(self.start))
        return affine

    def whole(self) -> Part:
        """Return the whole scan, zeros included."""
        if self.num_outside == 0:
            return self
        array = np.zeros(self.full_shape, self.volume.array.dtype)
        stop = np.add(self.start, self.volume.array.shape)
        array[slices_of(to_box(self.start, stop))] = self.volume.array
        return as_it_is(replace(self.volume, array=array, affine=self.full_affine))


def as_it_is(volume: Volume) -> Part:
    """Return a whole scan, its axes as they are."""
    return Part(volume, (0, 0, 0), to_box((0, 0, 0), volume.array.shape)[1])


def trim(volume: Volume) -> Part:
    """Return a copy of the part that is not 0, or the scan as it is if that is most of it.

    Args:
        volume: What was read, axes as they come. Only where a stored 0 is a real 0, it is trimmed.
    """
    array, affine = to_ras(volume.array, volume.affine)
    full_shape = to_box((0, 0, 0), array.shape)[1]
    box = _nonzero_box(array) if volume.intercept == 0 else None
    if box is not None:
        start = np.maximum(np.subtract(box[0], 1), 0)
        stop = np.minimum(np.add(box[1], 1), full_shape)
        if np.prod(stop - start) <= WORTHWHILE * array.size:
            kept = to_box(start, stop)
            block = in_c_order(array[slices_of(kept)])
            part = replace(volume, array=block, affine=affine @ _step(start))
            return Part(part, kept[0], full_shape)
    return as_it_is(replace(volume, array=array, affine=affine))


def _step(voxels: NDArray[np.intp]) -> Affine:
    step = np.eye(4)
    step[:3, 3] = voxels
    return step


def _nonzero_box(array: NDArray[Any]) -> Box | None:
    """Return the box around everything but 0, or None if there is nothing."""
    order, ahead = memory_order(array), forwards(array)
    planes = array[ahead].transpose(order)
    # The pattern of bits tells whether any is not 0; -0.0 counts, which only makes the box larger.
    bits = planes.view(f"u{planes.itemsize}")
    sheet = np.bitwise_or.reduce(bits, axis=0)
    middle, fast = _ends(sheet.any(axis=1)), _ends(sheet.any(axis=0))
    if middle is None or fast is None:
        return None
    sides = bits[:, slice(*middle), slice(*fast)]
    first = next(index for index in range(len(sides)) if sides[index].any())
    last = next(index for index in reversed(range(len(sides))) if sides[index].any())
    ends = dict(zip(order, ((first, last + 1), middle, fast), strict=True))
    for axis, direction in enumerate(ahead):
        if direction.step < 0:
            ends[axis] = (array.shape[axis] - ends[axis][1], array.shape[axis] - ends[axis][0])
    return to_box([ends[axis][0] for axis in range(3)], [ends[axis][1] for axis in range(3)])


def _ends(is_occupied: NDArray[np.bool_]) -> tuple[int, int] | None:
    places = np.flatnonzero(is_occupied)
    return (int(places[0]), int(places[-1]) + 1) if places.size else None
