"""From the template to one person: pose, size, shape, and the push of a growing lesion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainmvp_lightning.phantom.anatomy import Anatomy
from brainmvp_lightning.phantom.fields import smooth_noise
from brainmvp_lightning.phantom.grids import Floats, Grid, Matrix

# Standard deviations between people; small enough that all heads roughly share MNI space.
_ROTATION_DEGREES = 2.0
_SCALE = 0.045
_SHIFT_MM = 1.5
# Correlation length and standard deviation of the displacement at each scale, mm.
_WARPS_MM = ((100.0, 2.8), (45.0, 1.4), (18.0, 0.8))


@dataclass(frozen=True)
class Push:
    """A radial displacement that moves tissue away from a centre.

    Args:
        centre_mm: World coordinates.
        reach_mm: Standard deviation of the Gaussian within which tissue moves.
        strength: Relative growth at the centre, below 1; negative pulls inwards.
    """

    centre_mm: tuple[float, float, float]
    reach_mm: float
    strength: float


def rotation(degrees: Matrix) -> Matrix:
    """Return the 3x3 rotation about the fixed axes x, then y, then z by three angles."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        first, second = ((1, 2), (0, 2), (0, 1))[axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def draw_template_positions(grid: Grid, pushes: Sequence[Push], rng: np.random.Generator) -> Floats:
    """Draw where in the template each voxel of a person comes from, ``3 x y z`` in mm."""
    axes = grid.axes_mm()
    positions: Floats = np.stack(np.broadcast_arrays(*axes))  # 3 x y z
    for push in pushes:
        offsets = [axis - np.float32(c) for axis, c in zip(axes, push.centre_mm, strict=True)]
        distance2 = offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2
        pull = push.strength * np.exp(-distance2 / (2 * push.reach_mm**2))
        for component, offset in zip(positions, offsets, strict=True):
            component -= pull * offset
    matrix, shift = _draw_affine(rng)
    positions = np.einsum("ij,jxyz->ixyz", matrix.astype(np.float32), positions)
    positions += shift.astype(np.float32)[:, None, None, None]
    spacing_mm = float(grid.spacing_mm[0])
    for length_mm, deviation_mm in _WARPS_MM:
        warp = smooth_noise(rng, grid.shape, length_mm, spacing_mm, num=3)
        positions += np.float32(deviation_mm) * warp.clip(-2.5, 2.5)
    return positions


def warp_maps(anatomy: Anatomy, positions_mm: Floats) -> Floats:
    """Read all template maps at `positions_mm`, ``c x y z`` in [0, 1]."""
    scale, origin = np.diag(anatomy.grid.affine)[:3], anatomy.grid.affine[:3, 3]
    indices = positions_mm - origin.astype(np.float32)[:, None, None, None]
    indices /= np.float32(scale[0])
    warped = np.empty((len(anatomy.maps), *positions_mm.shape[1:]), np.float32)
    for source, target in zip(anatomy.maps, warped, strict=True):
        ndimage.map_coordinates(source, indices, output=target, order=1)
    warped /= 255
    return warped


def _draw_affine(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    turn = rotation(_ROTATION_DEGREES * rng.standard_normal(3).clip(-2, 2))
    size = 1 + _SCALE * rng.standard_normal(3).clip(-2, 2)
    return turn @ np.diag(1 / size), _SHIFT_MM * rng.standard_normal(3).clip(-2, 2)
