"""Order of voxels in memory, which decides how fast they can be walked through."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PAGE = 4096  # rows at distances of whole pages compete for the same lines of the cache
_TILE = 16


def memory_order(array: NDArray[Any]) -> tuple[int, int, int]:
    """Return the axes from the one with the longest steps in memory to the one with the least."""
    steps = [abs(step) for step in array.strides]
    slow, middle, fast = sorted(range(3), key=lambda axis: -steps[axis])
    return slow, middle, fast


def in_c_order(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array itself if its last axis lies closest in memory, else such a copy.

    It copies plane by plane: NumPy's own way of turning a large volume misses the cache at almost
    every voxel.
    """
    if array.flags.c_contiguous or memory_order(array)[2] == 2:
        return np.ascontiguousarray(array)
    fast = memory_order(array)[2]
    tile = _TILE if array.strides[2] % _PAGE == 0 else array.shape[2]
    turned = np.empty(array.shape, array.dtype)
    source, target = (np.moveaxis(volume, 1 - fast, 0) for volume in (array, turned))
    for plane, copy in zip(source, target, strict=True):
        for first in range(0, plane.shape[1], tile):
            copy[:, first : first + tile] = plane[:, first : first + tile]
    return turned


def forwards(array: NDArray[Any]) -> tuple[slice, ...]:
    """Return slices that make all steps in memory positive; the same slices undo it.

    NumPy computes several times as fast on an array that runs forwards.
    """
    return tuple(slice(None, None, -1 if step < 0 else 1) for step in array.strides)


def as_flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return all voxels in the order of memory; a view if they lie there without gaps."""
    return array[forwards(array)].ravel(order="K")
