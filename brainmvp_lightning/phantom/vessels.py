"""Blood vessels of the template: the circle of Willis, cortical branches, the sagittal sinus."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from brainmvp_lightning.phantom.grids import Floats, Grid, Matrix, head_grid, resample

# Courses of the arteries of one side, MNI mm, and their radii at the start, mm.
_PAIRED = {
    "internal carotid": (
        (
            (22, -18, -71),
            (23, -16, -52),
            (18, -12, -40),
            (11, -8, -32),
            (12, 4, -27),
            (12, 8, -20),
            (13, 2, -14),
        ),
        2.0,
    ),
    "middle cerebral M1": (((13, 2, -14), (22, 4, -17), (33, 5, -16), (39, 2, -10)), 1.5),
    "middle cerebral M2 back": (((39, 2, -10), (42, -8, 0), (44, -20, 10), (46, -34, 16)), 1.1),
    "middle cerebral M2 front": (((39, 2, -10), (43, 12, -2), (46, 20, 10)), 1.0),
    "anterior cerebral A1": (((13, 2, -14), (7, 8, -14), (3, 13, -10)), 1.2),
    "anterior cerebral A2": (
        (
            (3, 13, -10),
            (2, 28, -6),
            (2, 38, 6),
            (2, 36, 20),
            (2, 18, 32),
            (2, -6, 36),
            (2, -28, 36),
        ),
        1.0,
    ),
    "vertebral": (((12, -34, -71), (8, -32, -62), (0, -31, -52)), 1.5),
    "posterior cerebral": (
        ((0, -18, -19), (8, -20, -16), (20, -24, -13), (22, -38, -6), (16, -56, 0), (10, -76, 4)),
        1.1,
    ),
    "posterior communicating": (((13, 2, -15), (11, -8, -15), (10, -19, -16)), 0.7),
}
_BASILAR = (((0, -31, -52), (1, -27, -40), (0, -21, -28), (0, -18, -19)), 1.8)
_NUM_BRANCHES = 70
_BRANCH_RADII_MM = (0.42, 0.85)  # at the cortex, at the trunk
_SINUS_RADIUS_MM = 2.6
_SEARCH_SPACING_MM = 3.0
_SEED = 7  # the template's vessels are the same in every cohort

Course = tuple[Matrix, Matrix]  # points n 3 in mm, radii n in mm


def draw_arteries(water: Floats, is_brain: np.ndarray, source: Grid, target: Grid) -> Floats:
    """Return the share of arteries in every voxel of `target`.

    The trunks follow textbook courses; the branches are the cheapest ways through the `water` of
    fissures and sulci from random places of the cortex back to the trunks.

    Args:
        water: Share of cerebrospinal fluid inside the brain, on `source`.
        is_brain: The brain, on `source`.
        source: Grid of the templates, 1 mm.
        target: Grid of the result.
    """
    courses = _trunks()
    roots = np.concatenate([points for points, _ in courses])
    search = head_grid(_SEARCH_SPACING_MM)
    near_brain = resample(is_brain, source, search) > 0.3
    courses += _branches(resample(water, source, search), near_brain, search, roots)
    return _rasterise(courses, target)


def draw_sagittal_sinus(is_brain: np.ndarray, source: Grid, target: Grid) -> Floats:
    """Return the share of the superior sagittal sinus, which rides on the brain's midline."""
    middle = round(source.indices_of(np.zeros((1, 3)))[0, 0])
    top = []
    for y_mm in np.arange(60.0, -100.0, -1.0):
        y = round(source.indices_of(np.array([[0.0, y_mm, 0.0]]))[0, 1])
        heights = np.flatnonzero(is_brain[middle - 3 : middle + 4, y].any(axis=0))
        if heights.size:
            top.append((0.0, y_mm, heights.max() * source.affine[2, 2] + source.affine[2, 3] + 1))
    points = _densify(ndimage.gaussian_filter1d(np.array(top), 4, axis=0, mode="nearest"))
    return _rasterise([(points, np.full(len(points), _SINUS_RADIUS_MM))], target)


def _trunks() -> list[Course]:
    courses: list[Course] = []
    for course, radius in [*_PAIRED.values(), *_PAIRED.values(), _BASILAR]:
        side = 1 if len(courses) < len(_PAIRED) else -1
        points = _densify(np.array(course, float) * (side, 1, 1))
        courses.append((points, radius * np.linspace(1, 0.85, len(points))))
    return courses


def _densify(points: Matrix, step_mm: float = 0.5) -> Matrix:
    """Return a smooth course with about one point per step."""
    pieces = []
    for start, stop in pairwise(points):
        num = max(2, int(np.linalg.norm(stop - start) / step_mm))
        pieces.append(start + (stop - start) * np.linspace(0, 1, num, endpoint=False)[:, None])
    dense = np.concatenate([*pieces, points[-1:]])
    smooth: Matrix = ndimage.gaussian_filter1d(dense, 5, axis=0, mode="nearest")
    return smooth


def _branches(water: Floats, near_brain: np.ndarray, grid: Grid, roots: Matrix) -> list[Course]:
    rng = np.random.default_rng(_SEED)
    predecessors = _cheapest_ways(water, near_brain, grid, roots)
    surface = near_brain & ~ndimage.binary_erosion(near_brain, iterations=2) & (water > 0.15)
    surface &= grid.axes_mm()[2] > -35
    leaves = rng.choice(np.flatnonzero(surface), _NUM_BRANCHES, replace=False)
    courses: list[Course] = []
    for leaf in leaves:
        way = [int(leaf)]
        while predecessors[way[-1]] >= 0 and len(way) < 200:
            way.append(int(predecessors[way[-1]]))
        if len(way) >= 4:
            points = np.stack(np.unravel_index(way, grid.shape), axis=1).astype(float)
            points = (points + rng.normal(0, 0.2, points.shape)) @ grid.affine[:3, :3].T
            points = ndimage.gaussian_filter1d(points, 1.0, axis=0, mode="nearest")
            points = _densify(points + grid.affine[:3, 3])
            courses.append((points, np.linspace(*_BRANCH_RADII_MM, len(points))))
    return courses


def _cheapest_ways(water: Floats, near_brain: np.ndarray, grid: Grid, roots: Matrix) -> np.ndarray:
    """Return the next voxel on the way from each voxel to the nearest root; negative at its end."""
    cost = np.where(near_brain, 1 / (water + 0.04), 60.0)
    indices = np.arange(cost.size).reshape(cost.shape)
    starts, stops, weights = [], [], []
    steps = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0)]
    steps += [(1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)]
    for step in steps:
        sides = list(zip(step, cost.shape, strict=True))
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in sides)
        there = tuple(slice(max(0, s), n + min(0, s)) for s, n in sides)
        starts.append(indices[here].ravel())
        stops.append(indices[there].ravel())
        weights.append(np.linalg.norm(step) * (cost[here] + cost[there]).ravel() / 2)
    edges = (np.concatenate(starts), np.concatenate(stops))
    graph = coo_matrix((np.concatenate(weights), edges), shape=(cost.size, cost.size)).tocsr()
    voxels = np.rint(grid.indices_of(roots[roots[:, 2] > -25])).astype(int)
    sources = np.unique(np.ravel_multi_index(tuple(voxels.T), cost.shape))
    _, predecessors, _ = dijkstra(
        graph, directed=False, indices=sources, min_only=True, return_predecessors=True
    )
    return np.asarray(predecessors)


def _rasterise(courses: list[Course], target: Grid) -> Floats:
    """Paint tubes on a 1 mm grid and bring them to `target`."""
    fine = head_grid(1.0)
    canvas = np.zeros(fine.shape, np.float32)
    centres = fine.indices_of(np.concatenate([points for points, _ in courses]))
    radii = np.concatenate([radius for _, radius in courses])[:, None]
    reach = np.arange(-3, 4)
    cube = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = np.rint(centres).astype(int)[:, None] + cube  # n 343 3
    distance = np.linalg.norm(voxels - centres[:, None], axis=2)
    # Tubes thinner than a voxel fill it in part only.
    share = np.clip(radii + 0.5 - distance, 0, 1) * np.minimum(1, 1.6 * radii + 0.1)
    is_valid = ((voxels >= 0) & (voxels < fine.shape)).all(axis=2) & (share > 0)
    np.maximum.at(canvas, tuple(voxels[is_valid].T), share[is_valid].astype(np.float32))
    return resample(canvas, fine, target)
