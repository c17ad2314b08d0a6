"""Where the scans and the label of a study lie, relative to its reference scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.doctor.facts import ScanFacts
from brainmvp_lightning.doctor.findings import Finding, Severity
from brainmvp_lightning.preprocessing.geometry import (
    Grid,
    index_map,
    study_grid,
    to_ras,
    whole_shift,
)
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.volumes.transform import Affine

COARSE_MM = 7.0
MISPLACED_MM = 20.0
_POINTS = 20  # along each axis of a field of view


def reference_of(scans: Sequence[ScanFacts], recipe: Recipe) -> ScanFacts:
    """Return the scan whose field of view becomes the grid of the study, as prepare chooses it."""
    order = [*recipe.reference, *(scan.modality for scan in scans)]
    return min(scans, key=lambda scan: order.index(scan.modality))


def grid_of(scan: ScanFacts, recipe: Recipe) -> Grid:
    """Return the grid that prepare makes from a reference scan."""
    shape, affine = _turned(scan)
    return study_grid(shape, affine, recipe.spacing_mm)


def check_spacing(scan: ScanFacts, study: str) -> list[Finding]:
    """Find voxels with an edge above `COARSE_MM`."""
    edges = scan.spacing_mm
    if max(edges) <= COARSE_MM:
        return []
    text = f"its voxels are {' x '.join(f'{edge:.3g}' for edge in edges)} mm"
    fix = f"leave it out if it is a localiser (edges above {COARSE_MM:g} mm are named here)"
    return [Finding("coarse", "warning", study, str(scan.path), text, fix)]


def check_places(
    scans: Sequence[ScanFacts], study: str, recipe: Recipe
) -> tuple[ScanFacts, list[Finding]]:
    """Find scans that share too little with the reference scan, or show the head elsewhere.

    If that holds for all others, and these agree with each other, the reference scan is to blame.

    Returns:
        The reference scan, or the one that would be it without the one to blame; and findings.
    """
    reference = reference_of(scans, recipe)
    findings = _compare(scans, reference, study, recipe)
    others = [scan for scan in scans if scan is not reference]
    if len(others) < 2 or len(findings) < len(others):
        return reference, findings
    second = reference_of(others, recipe)
    if _compare(others, second, study, recipe):
        return reference, findings
    worst = min(findings, key=lambda finding: finding.order)
    text = (
        f"the reference scan ({reference.modality}) lies elsewhere than the other "
        f"{len(others)} scans, which agree with each other"
    )
    fix = "correct its header or leave it out"
    if worst.kind == "far":
        fix += ": prepare would keep this one and set the others aside"
    return second, [Finding(worst.kind, worst.severity, study, str(reference.path), text, fix)]


def _compare(
    scans: Sequence[ScanFacts], reference: ScanFacts, study: str, recipe: Recipe
) -> list[Finding]:
    """Return at most one finding for each scan but the reference."""
    grid = grid_of(reference, recipe)
    findings = []
    for scan in scans:
        if scan is reference:
            continue
        share = overlap_of(scan.shape, scan.affine, grid)
        if share < recipe.min_overlap:
            text = (
                f"it shares only {share:.0%} of its field of view with the reference scan "
                f"({reference.modality}); recipe.min_overlap is {recipe.min_overlap:.0%}"
            )
            fix = "correct its header, take the scan of the same session, or leave it out"
            findings.append(Finding("far", "error", study, str(scan.path), text, fix))
            continue
        findings += _check_heads(scan, reference, study, recipe)
    return findings


def needs_resampling(scan: ScanFacts, grid: Grid) -> bool:
    """Tell whether the voxels of a scan are not those of the grid, up to whole steps."""
    _, affine = _turned(scan)
    return whole_shift(index_map(affine, grid), grid.shape) is None


def overlap_of(shape: Sequence[int], affine: Sequence[Sequence[float]], grid: Grid) -> float:
    """Return the share of the smaller field of view, scan or grid, that both cover, about."""
    matrix = np.linalg.inv(grid.affine) @ np.asarray(affine, np.float64)
    axes = [(np.arange(_POINTS) + 0.5) * extent / _POINTS - 0.5 for extent in shape]
    points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
    found = matrix[:3, :3] @ points + matrix[:3, 3:]
    edges = np.asarray(grid.shape)[:, None] - 0.5
    inside = float(np.mean(((found >= -0.5) & (found <= edges)).all(axis=0)))
    scan_voxels = float(np.prod(shape)) * abs(float(np.linalg.det(matrix[:3, :3])))
    return min(1.0, inside * scan_voxels / min(scan_voxels, float(np.prod(grid.shape))))


def share_inside(points_mm: NDArray[np.float64], head: NDArray[np.bool_], affine: Affine) -> float:
    """Return the share of points, ``3 n`` world millimetres, within a mask of the head."""
    inverse = np.linalg.inv(affine)
    places = np.rint(inverse[:3, :3] @ points_mm + inverse[:3, 3:]).astype(int)
    inside = ((places >= 0) & (places < np.asarray(head.shape)[:, None])).all(axis=0)
    x, y, z = np.clip(places, 0, np.asarray(head.shape)[:, None] - 1)
    return float(np.mean(head[x, y, z] & inside))


def _check_heads(
    scan: ScanFacts, reference: ScanFacts, study: str, recipe: Recipe
) -> list[Finding]:
    # A slab lies within the whole head, so it sticks out on one side only: that is no fault.
    first, second = _box(scan), _box(reference)
    apart = min(_sticking_out(first, second), _sticking_out(second, first))
    if apart <= MISPLACED_MM:
        return []
    what = "head" if scan.look and reference.look else "field of view"
    text = (
        f"its {what} and that of the reference scan ({reference.modality}) stick out of each "
        f"other by {apart:.0f} mm"
    )
    is_registered = recipe.registration != "none"
    severity: Severity = "note" if is_registered else "warning"
    fix = (
        f"nothing if recipe.registration ({recipe.registration}) finds the way"
        if is_registered
        else "look at both in a viewer; register them (recipe.registration: rigid) or correct "
        "the header"
    )
    return [Finding("misplaced", severity, study, str(scan.path), text, fix)]


def _box(scan: ScanFacts) -> NDArray[np.float64]:
    """Return the lower and upper corner of head or field of view, ``2 3`` millimetres."""
    if scan.look is not None:
        return np.asarray(scan.look.head)
    affine = np.asarray(scan.affine)
    ends = [(-0.5, extent - 0.5) for extent in scan.shape]
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*ends, indexing="ij")])
    world = affine[:3, :3] @ corners + affine[:3, 3:]
    return np.stack([world.min(axis=1), world.max(axis=1)])


def _sticking_out(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    below = np.maximum(other[0] - box[0], 0)
    above = np.maximum(box[1] - other[1], 0)
    return float((below + above).max())


def _turned(scan: ScanFacts) -> tuple[tuple[int, ...], Affine]:
    husk = np.broadcast_to(np.uint8(0), scan.shape)
    turned, affine = to_ras(husk, np.asarray(scan.affine))
    return turned.shape, affine
