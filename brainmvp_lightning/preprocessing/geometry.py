"""One grid for all scans of a study, and the way onto it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmvp_lightning.volumes.records import Size
from brainmvp_lightning.volumes.transform import Affine

Box = tuple[Size, Size]  # start and stop

SAME_PLACE = 0.02  # of a voxel: transforms in headers are rounded to float32


@dataclass(frozen=True)
class Grid:
    """Axis-aligned isotropic grid, RAS+.

    Args:
        shape: Voxels along x, y, z.
        affine: Voxel index to millimetres, 4 x 4.
    """

    shape: Size
    affine: Affine


def to_ras(array: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Affine]:
    """Flip and swap the axes so that they point right, front and up as nearly as they can.

    Returns:
        A view of the array, and the transform of its voxels.
    """
    orientation = orientation_of(affine)
    turned = nib.apply_orientation(array, orientation)
    return turned, affine @ nib.orientations.inv_ornt_aff(orientation, array.shape)


def orientation_of(affine: Affine) -> NDArray[np.float64]:
    """Return what nibabel calls an orientation: for each axis the world's axis and direction."""
    return _orientation(np.ascontiguousarray(affine, np.float64).tobytes())


@lru_cache(maxsize=64)
def _orientation(affine: bytes) -> NDArray[np.float64]:
    # Found by a decomposition that takes longer than many a step over all voxels of a small box.
    orientation: NDArray[np.float64] = nib.io_orientation(np.frombuffer(affine).reshape(4, 4))
    orientation.flags.writeable = False
    return orientation


def study_grid(shape: tuple[int, ...], affine: Affine, spacing_mm: float) -> Grid:
    """Return the grid of a study from its reference scan.

    A reference that already is axis-aligned and isotropic with this spacing gives its own grid;
    otherwise the grid covers the reference's field of view, edges included, and is centred on it.

    Args:
        shape: Voxels of the reference, RAS.
        affine: Its voxel index to millimetres.
        spacing_mm: Edge of the new voxels.
    """
    aligned = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    aligned[:3, 3] = affine[:3, 3]
    if _farthest(affine, aligned, shape) < SAME_PLACE * spacing_mm:
        return Grid((shape[0], shape[1], shape[2]), aligned)
    edges = _corners(shape, margin=0.5)
    world = affine[:3, :3] @ edges + affine[:3, 3:]
    lower, upper = world.min(axis=1), world.max(axis=1)
    extent = np.maximum(np.ceil((upper - lower) / spacing_mm - SAME_PLACE), 1).astype(int)
    aligned[:3, 3] = (lower + upper) / 2 - spacing_mm * (extent - 1) / 2
    return Grid((int(extent[0]), int(extent[1]), int(extent[2])), aligned)


def index_map(affine: Affine, grid: Grid) -> Affine:
    """Return the matrix from voxel indices of `grid` to (fractional) indices of a scan."""
    inverse: Affine = np.linalg.inv(affine) @ grid.affine
    return inverse


def whole_shift(matrix: Affine, shape: Size) -> tuple[int, int, int] | None:
    """Return the shift in whole voxels if that is all an index map does, else None."""
    shift = np.rint(matrix[:3, 3])
    shifted = np.eye(4)
    shifted[:3, 3] = shift
    if _farthest(matrix, shifted, shape) >= SAME_PLACE:
        return None
    return int(shift[0]), int(shift[1]), int(shift[2])


def is_separable(matrix: Affine, shape: Size) -> bool:
    """Tell whether an index map scales and shifts each axis on its own."""
    diagonal = np.diag([*np.diag(matrix)[:3], 1.0])
    diagonal[:3, 3] = matrix[:3, 3]
    return _farthest(matrix, diagonal, shape) < SAME_PLACE


def slices_of(box: Box) -> tuple[slice, slice, slice]:
    """Return the slices that cut a box out of an array."""
    (x, y, z), (x_stop, y_stop, z_stop) = box
    return slice(x, x_stop), slice(y, y_stop), slice(z, z_stop)


def common_box(first: Box, second: Box) -> Box | None:
    """Return the voxels that two boxes share, or None."""
    start, stop = np.maximum(first[0], second[0]), np.minimum(first[1], second[1])
    return to_box(start, stop) if (start < stop).all() else None


def within(box: Box, outer: Box) -> Box:
    """Return a box counted from the first voxel of another one."""
    return to_box(np.subtract(box[0], outer[0]), np.subtract(box[1], outer[0]))


def box_on_grid(box: Box, matrix: Affine, shape: Size) -> Box | None:
    """Return the voxels of a grid that may lie in a box of a scan, or None.

    Args:
        box: Voxels of the scan.
        matrix: Index map from the grid to the scan.
        shape: Voxels of the grid.
    """
    edges = [(start - 0.5, stop - 0.5) for start, stop in zip(*box, strict=True)]
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*edges, indexing="ij")])
    inverse = np.linalg.inv(matrix)
    places = inverse[:3, :3] @ corners + inverse[:3, 3:]
    lower, upper = np.ceil(places.min(axis=1)), np.floor(places.max(axis=1)) + 1
    return common_box(to_box(lower, upper), ((0, 0, 0), shape))


def to_box(start: ArrayLike, stop: ArrayLike) -> Box:
    """Return a box of plain integers."""
    (x, y, z), (x_stop, y_stop, z_stop) = np.asarray(start).tolist(), np.asarray(stop).tolist()
    return (int(x), int(y), int(z)), (int(x_stop), int(y_stop), int(z_stop))


def _farthest(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    difference = first - second
    moved = difference[:3, :3] @ _corners(shape, margin=0.0) + difference[:3, 3:]
    return float(np.abs(moved).max())


def _corners(shape: tuple[int, ...], margin: float) -> NDArray[np.float64]:
    ends = [(-margin, extent - 1 + margin) for extent in shape]
    return np.stack([axis.ravel() for axis in np.meshgrid(*ends, indexing="ij")])
