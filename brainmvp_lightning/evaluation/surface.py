"""Distances between the surfaces of two regions, in millimetres."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Box = tuple[slice, slice, slice]
Measure = Callable[[Places], Floats]

# Above this many voxels of the box for each one on a surface, a tree of the surfaces is quicker
# than a distance map of the box; below it, the map needs memory in proportion to them, too.
_SPARSE = 10
_PIECE = 1 << 18  # surface voxels measured at once


def hd95(prediction: Mask, truth: Mask, spacing_mm: Sequence[float]) -> float:
    """Return the 95th percentile of the Hausdorff distance, in mm.

    The larger of the two directed ones: the 95th percentile (linear between ranks) of the
    distances from the voxels on the surface of one region to the nearest on that of the other,
    between voxel centres.

    Args:
        prediction: ``x y z``, not empty.
        truth: ``x y z``, not empty.
        spacing_mm: Of the voxels, along each axis.

    Raises:
        ValueError: If a region is empty; no distance exists then, see `EmptyRule`.

    Source:
        The definition of MONAI's `compute_hausdorff_distance` with `percentile=95`.
    """
    distances = surface_distances(prediction, truth, spacing_mm)
    return max(float(np.percentile(directed, 95)) for directed in distances)


def surface_distances(first: Mask, second: Mask, spacing_mm: Sequence[float]) -> list[Floats]:
    """Return the distances in mm from each surface voxel to the nearest of the other region.

    Those of `first` come first, each in C order. Time and memory grow with the box around both
    regions and with their surfaces, not with the image.

    Raises:
        ValueError: If a region is empty.
    """
    box = common_box(first, second)
    edges = [surface(mask[box]) for mask in (first, second)]
    return [_distances(start, goal, spacing_mm) for start, goal in (edges, edges[::-1])]


def surface(mask: Mask) -> Mask:
    """Return the voxels of a region with a face towards the outside or the image's border."""
    outer: Mask = mask & ~binary_erosion(mask)
    return outer


def common_box(first: Mask, second: Mask) -> Box:
    """Return the smallest box that holds both regions, neither of which may be empty."""
    x, y, z = (
        slice(min(one.start, other.start), max(one.stop, other.stop))
        for one, other in zip(bounding_box(first), bounding_box(second), strict=True)
    )
    return x, y, z


def bounding_box(mask: Mask) -> Box:
    """Return the smallest box that holds a region.

    Raises:
        ValueError: If it is empty.
    """
    x, y, z = (_span(np.any(mask, axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return x, y, z


def _span(occupied: Mask) -> slice:
    places = np.flatnonzero(occupied)
    if not len(places):
        raise ValueError("an empty region has no surface; score it by an EmptyRule")
    return slice(int(places[0]), int(places[-1]) + 1)


def _distances(start: Mask, goal: Mask, spacing_mm: Sequence[float]) -> Floats:
    spacing = np.asarray(spacing_mm, np.float64)
    distances = np.zeros(int(np.count_nonzero(start)))
    away = np.flatnonzero(start & ~goal)  # the others lie on both surfaces
    if len(away):
        sparse = start.size > _SPARSE * (len(distances) + int(np.count_nonzero(goal)))
        measure = _through_tree(goal, spacing) if sparse else _through_map(goal, spacing)
        pieces = np.array_split(away, math.ceil(len(away) / _PIECE))
        distances[~goal[start]] = np.concatenate(
            [measure(np.stack(np.unravel_index(piece, start.shape), axis=1)) for piece in pieces]
        )
    return distances


def _through_tree(goal: Mask, spacing: Floats) -> Measure:
    tree = KDTree(np.argwhere(goal) * spacing)

    def measure(places: Places) -> Floats:
        lengths: Floats = np.asarray(tree.query(places * spacing)[0], np.float64)
        return lengths

    return measure


def _through_map(goal: Mask, spacing: Floats) -> Measure:
    # The map of nearest voxels is 12 bytes a voxel; that of distances would need several times it.
    nearest = distance_transform_edt(
        ~goal, sampling=spacing, return_distances=False, return_indices=True
    )

    def measure(places: Places) -> Floats:
        offsets = (nearest[:, *places.T].T - places) * spacing
        lengths: Floats = np.sqrt(np.square(offsets).sum(axis=1))
        return lengths

    return measure
