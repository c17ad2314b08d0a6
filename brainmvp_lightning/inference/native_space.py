"""From probabilities on the grid of a study back to the grid of a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmvp_lightning.preprocessing.geometry import (
    Box,
    Grid,
    box_on_grid,
    orientation_of,
    slices_of,
)
from brainmvp_lightning.preprocessing.resampling import Route, find_route, sample
from brainmvp_lightning.volumes.transform import Affine

Decide = Callable[[NDArray[np.float32]], NDArray[Any]]
"""From probabilities ``c x y z`` to what a file holds, ``x y z``, voxel by voxel."""

SLAB_BYTES = 2**26


def restore(
    probabilities: NDArray[Any],
    grid_affine: ArrayLike,
    file_affine: ArrayLike,
    file_shape: Sequence[int],
    decide: Decide,
    *,
    outside: Sequence[float] | None = None,
    slab_bytes: int = SLAB_BYTES,
) -> NDArray[Any]:
    """Bring probabilities onto the grid of a file and decide there.

    Where the grids differ by whole voxels, swapped and mirrored axes only, every voxel keeps its
    probabilities bit by bit; elsewhere they are interpolated linearly in world coordinates, so
    that borders between classes move by less than nearest neighbours would move them. The half
    voxel around the outer voxel centres repeats the outer voxel.

    Beside what goes in and comes out, memory holds `slab_bytes` of interpolated probabilities (or
    one plane, if that is more), what `decide` makes of them, and one channel of the part of
    `probabilities` that they come from.

    Args:
        probabilities: ``c x y z`` on the study's grid, float32 or float16.
        grid_affine: Voxel index of this grid to millimetres of the study, 4 x 4.
        file_affine: Voxel index of the file to millimetres of the study, 4 x 4: the file's own
            affine after registration (``to_study @ affine``).
        file_shape: Voxels of the file.
        decide: Called with parts of the file's grid; its answers must not depend on how the grid
            is cut.
        outside: Probability of each channel where the study's grid does not reach; 0 by default.
        slab_bytes: Size of these parts.

    Returns:
        What `decide` returned, on the file's grid, ``x y z``.

    Raises:
        ValueError: If the grids are tilted against each other and the study is one voxel thin.
    """
    values = [0.0] * len(probabilities) if outside is None else list(outside)
    background = decide(np.array(values, np.float32)[:, None, None, None])
    restored = np.full(tuple(file_shape), background.item(), background.dtype)
    turned, affine = _turn(restored, np.asarray(grid_affine), np.asarray(file_affine))
    x, y, z = turned.shape
    grid = Grid((x, y, z), affine)
    route = find_route(np.asarray(grid_affine, np.float64), grid)
    _, *volume = probabilities.shape
    if not route.is_separable and min(volume) < 2:
        raise ValueError(f"a study of {volume} voxels is too thin to be turned onto another grid")
    everything = ((0, 0, 0), (volume[0], volume[1], volume[2]))
    region = box_on_grid(everything, route.matrix, grid.shape)
    for box in [] if region is None else _slabs(region, len(probabilities), slab_bytes):
        turned[slices_of(box)] = decide(_sample(probabilities, route, box, values))
    return restored


def _turn(
    restored: NDArray[Any], grid_affine: Affine, file_affine: Affine
) -> tuple[NDArray[Any], Affine]:
    """Return a view of the file's voxels whose axes run along those of the grid, and its affine."""
    orientation = orientation_of(np.linalg.inv(grid_affine) @ file_affine)
    turned = nib.apply_orientation(restored, orientation)
    affine: Affine = file_affine @ nib.orientations.inv_ornt_aff(orientation, restored.shape)
    return turned, affine


def _slabs(region: Box, num_channels: int, slab_bytes: int) -> list[Box]:
    (x, y, z), (x_stop, y_stop, z_stop) = region
    plane = 4 * num_channels * (y_stop - y) * (z_stop - z)
    step = max(1, slab_bytes // plane)
    return [
        ((first, y, z), (min(first + step, x_stop), y_stop, z_stop))
        for first in range(x, x_stop, step)
    ]


def _sample(
    probabilities: NDArray[Any], route: Route, box: Box, outside: Sequence[float]
) -> NDArray[np.float32]:
    slab = np.empty((len(probabilities), *np.subtract(box[1], box[0])), np.float32)
    for channel, value, target in zip(probabilities, outside, slab, strict=True):
        target[...] = sample(channel, route, box, value, "linear")
    return slab
