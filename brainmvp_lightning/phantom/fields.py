"""Random fields and soft shapes from which anatomy, lesions and artefacts are drawn."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.phantom.grids import Axes, Floats

Distances = NDArray[np.floating[Any]] | float


def generator(seed: int, index: int, purpose: str) -> np.random.Generator:
    """Return a generator that depends on the cohort's seed, the study's index and a purpose."""
    return np.random.default_rng([seed, index, zlib.crc32(purpose.encode())])


def smooth_noise(
    rng: np.random.Generator,
    shape: Sequence[int],
    length_mm: float,
    spacing_mm: float,
    num: int = 1,
) -> Floats:
    """Draw Gaussian random fields of unit variance, ``num x y z``.

    They are filtered on a coarse grid of five nodes per correlation length and interpolated.

    Args:
        rng: Source of randomness.
        shape: Voxels along x, y and z.
        length_mm: Correlation length.
        spacing_mm: Edge of a voxel.
        num: Number of independent fields.
    """
    step = max(length_mm / 5.0, spacing_mm)
    coarse = [int(np.ceil(size * spacing_mm / step)) + 1 for size in shape]
    fields = np.empty((num, *shape), np.float32)
    for field in fields:
        nodes = rng.standard_normal(coarse, dtype=np.float32)
        nodes = ndimage.gaussian_filter(nodes, 0.45 * length_mm / step, mode="wrap")
        nodes /= nodes.std() + 1e-9
        field[:] = interpolate_linearly(nodes, shape)
    return fields


def interpolate_linearly(nodes: Floats, shape: Sequence[int]) -> Floats:
    """Stretch `nodes` to `shape`, first and last nodes on the first and last voxels."""
    values = nodes
    for axis, size in enumerate(shape):
        position = np.linspace(0, values.shape[axis] - 1, size)
        lower = np.clip(position.astype(int), 0, max(values.shape[axis] - 2, 0))
        upper = np.minimum(lower + 1, values.shape[axis] - 1)
        along = [1, 1, 1]
        along[axis] = size
        weight = (position - lower).astype(np.float32).reshape(along)
        first, second = values.take(lower, axis), values.take(upper, axis)
        second -= first
        second *= weight
        first += second
        values = first
    return values


def shell(distance_mm: Floats, inner_mm: Distances, outer_mm: Distances, voxel_mm: float) -> Floats:
    """Return the share of each voxel between two distances from a surface.

    It is exact for a flat surface along an axis, so that shells thinner than a voxel keep their
    volume.
    """
    half = voxel_mm / 2
    overlap = np.minimum(outer_mm, distance_mm + half) - np.maximum(inner_mm, distance_mm - half)
    share: Floats = np.clip(overlap / voxel_mm, 0, 1).astype(np.float32)
    return share


def inside(signed_distance_mm: Floats, width_mm: float = 2.0) -> Floats:
    """Return 1 where the signed distance is negative, 0 outside, a ramp of `width_mm` between."""
    share: Floats = np.clip(0.5 - signed_distance_mm / width_mm, 0, 1).astype(np.float32)
    return share


def ellipsoid(
    axes_mm: Axes, centre_mm: Sequence[float], radii_mm: Sequence[float], width_mm: float
) -> Floats:
    """Return a soft ellipsoid: 1 inside, 0 outside, a ramp about `width_mm` wide between."""
    terms = [((axis - c) / r) ** 2 for axis, c, r in zip(axes_mm, centre_mm, radii_mm, strict=True)]
    radius = np.sqrt(terms[0] + terms[1] + terms[2])
    return inside((radius - 1) * min(radii_mm), width_mm)


def distance_to(mask: np.ndarray, spacing_mm: float) -> Floats:
    """Return the distance in mm from every voxel to the nearest True voxel of `mask`."""
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return np.asarray(distance, np.float32)
