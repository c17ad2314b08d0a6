"""Voxel grids in world coordinates (mm, RAS+) and the passage from one grid to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]
Axes = tuple[Floats, Floats, Floats]

# The part of MNI space that holds the whole head, mm: the classic 182 x 218 x 182 box.
HEAD_LOWER_MM = (-91.0, -126.0, -72.0)
HEAD_UPPER_MM = (91.0, 92.0, 110.0)


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape of an array ``x y z`` and the 4x4 matrix from voxel indices to millimetres."""

    shape: tuple[int, int, int]
    affine: Matrix

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Distance between neighbouring voxel centres along each array axis."""
        spacing: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return spacing

    def axes_mm(self) -> Axes:
        """Return broadcastable world coordinates of an axis-aligned RAS grid.

        Raises:
            ValueError: If the grid is rotated or flipped.
        """
        scale = np.diag(self.affine)[:3]
        if not np.array_equal(self.affine[:3, :3], np.diag(scale)) or scale.min() <= 0:
            raise ValueError(f"world axes need an axis-aligned RAS grid, got {self.affine}")
        lines = [
            (np.arange(num) * step + start).astype(np.float32)
            for num, step, start in zip(self.shape, scale, self.affine[:3, 3], strict=True)
        ]
        x, y, z = np.meshgrid(*lines, indexing="ij", sparse=True)
        return x, y, z

    def indices_of(self, points_mm: Matrix) -> Matrix:
        """Return fractional voxel indices, ``n 3``, of world points, ``n 3``."""
        inverse = np.linalg.inv(self.affine)
        indices: Matrix = points_mm @ inverse[:3, :3].T + inverse[:3, 3]
        return indices


def head_grid(spacing_mm: float) -> Grid:
    """Return the isotropic RAS grid that covers the head box; voxels tile the box."""
    lower, upper = np.array(HEAD_LOWER_MM), np.array(HEAD_UPPER_MM)
    shape = np.maximum(np.rint((upper - lower) / spacing_mm).astype(int), 1)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (lower + upper) / 2 - spacing_mm * (shape - 1) / 2
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def resample(
    volume: NDArray[Any],
    source: Grid,
    target: Grid,
    motion: Matrix | None = None,
    order: Literal[0, 1] = 1,
) -> Floats:
    """Read `volume` at the voxel centres of `target`; outside is zero.

    Where the target is coarser, the volume is first blurred along the matching axes, as a thick
    slice does.

    Args:
        volume: Values on `source`, ``x y z``.
        source: Grid of `volume`.
        target: Grid of the result.
        motion: 4x4 matrix from target millimetres to source millimetres.
        order: 1 for images, 0 for labels (nearest voxel, no blur).
    """
    step = np.eye(4) if motion is None else motion
    matrix = np.linalg.inv(source.affine) @ step @ target.affine
    values = volume.astype(np.float32)
    if order:
        values = ndimage.gaussian_filter(values, _blur(matrix[:3, :3]))
    result = np.empty(target.shape, np.float32)
    ndimage.affine_transform(
        values, matrix[:3, :3], matrix[:3, 3], target.shape, output=result, order=order
    )
    return result


def _blur(matrix: Matrix) -> NDArray[np.float64]:
    """Return a Gaussian width in source voxels for every source axis."""
    stride = np.linalg.norm(matrix, axis=0)  # source voxels per target voxel
    matching = np.abs(matrix).argmax(axis=0)
    sigma = np.zeros(3)
    for axis, step in zip(matching, stride, strict=True):
        # 0.42 makes the Gaussian as wide as a box of one step; below 1.6 the interpolation does it.
        sigma[axis] = max(sigma[axis], 0.42 * step if step > 1.6 else 0.0)
    return sigma
