"""All usable scans of a study on one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.checks import check_image
from brainmvp_lightning.preprocessing.foreground import find_foreground, foreground_box
from brainmvp_lightning.preprocessing.geometry import (
    Box,
    Grid,
    box_on_grid,
    common_box,
    slices_of,
    study_grid,
    to_box,
    within,
)
from brainmvp_lightning.preprocessing.layout import in_c_order
from brainmvp_lightning.preprocessing.recipe import STEPS, Recipe
from brainmvp_lightning.preprocessing.resampling import (
    Placed,
    Route,
    find_route,
    place_along,
    sample,
    shared_field,
)
from brainmvp_lightning.preprocessing.steps import apply_steps
from brainmvp_lightning.preprocessing.trimming import Part, as_it_is, trim
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import NiftiFile, Volume, open_nifti
from brainmvp_lightning.volumes.transform import Affine


@dataclass(frozen=True)
class PlacedScan:
    """A scan, where its head is on the grid of the study, and the way to its voxels.

    Args:
        scan: Where it came from.
        volume: What was read; without its voxels.
        to_study: World to world transform, mm, that registration found; 4 x 4.
        part: Its voxels.
        route: Way from the grid to them.
        overlap: Share of the smaller field of view, scan or grid, that both cover.
        box: Box around its head, on the grid.
        mask: True in its head, ``x y z`` of the box.
        is_flat: Everything but the head has one value.
        level: That value, or what stands for air, as a number of the file.
    """

    scan: Scan
    volume: Volume
    to_study: Affine
    part: Part
    route: Route
    overlap: float
    box: Box
    mask: NDArray[np.bool_]
    is_flat: bool
    level: float

    @property
    def background(self) -> float:
        """Real intensity of everything but the head."""
        return self.level * self.part.volume.slope + self.part.volume.intercept

    def voxels(self, box: Box, recipe: Recipe) -> Placed:
        """Return the scan's intensities in a box of the grid."""
        return place_along(self.part.volume, self.route, box, self.level, recipe.interpolation)

    def head(self, box: Box) -> NDArray[np.bool_]:
        """Return where the head is in a box of the grid that holds the whole head."""
        if box == self.box:
            return self.mask
        head = np.zeros(np.subtract(box[1], box[0]), np.bool_)
        head[slices_of(within(self.box, box))] = self.mask
        return head


@dataclass(frozen=True)
class Placement:
    """The usable scans of a study.

    Args:
        grid: Their grid.
        scans: In the study's order.
        world: World to world transform, mm, that also holds for the annotation; 4 x 4.
    """

    grid: Grid
    scans: list[PlacedScan]
    world: Affine


def place_scans(study: Study, recipe: Recipe, problems: list[Problem]) -> Placement | None:
    """Read the scans of a study and find them on the grid of its reference scan.

    Args:
        study: What to read.
        recipe: Names the steps in between, and the order in which the reference is chosen.
        problems: Gets a sentence for each scan that is set aside or was odd.

    Returns:
        What is needed to store them, or None if no scan is usable.

    Raises:
        MissingToolError: If a step needs a program that is not installed.
    """
    husks, parts = _read_scans(study, recipe, problems)
    to_study, world = _apply_steps(study, parts, recipe, problems)
    order = [*recipe.reference, *(scan.modality for scan in study.scans)]
    grid, reference, images = None, None, {}
    for scan in sorted(parts, key=lambda scan: order.index(scan.modality)):
        part = parts.pop(scan)
        if grid is None:
            grid = study_grid(part.full_shape, part.full_affine, recipe.spacing_mm)
        image = _place_scan(scan, part, grid, recipe)
        fault = _misfit(image, reference, recipe)
        if image is None or fault:
            remedy = "register it to the others, correct its header, or leave it out"
            problems.append(Problem(study.id, str(scan.path), fault, remedy))
            grid = None if reference is None else grid
            continue
        reference = reference or image
        images[scan] = replace(image, volume=husks[scan], to_study=to_study[scan])
    if grid is None or reference is None:
        return None
    scans = [images[scan] for scan in study.scans if scan in images]
    return Placement(grid, scans, world)


def volume_notes(study: Study, path: Path, volume: Volume) -> list[Problem]:
    """Return a sentence for each oddity that was handled while reading."""
    return [
        Problem(study.id, str(path), note, "check it", is_handled=True) for note in volume.notes
    ]


def _read_scans(
    study: Study, recipe: Recipe, problems: list[Problem]
) -> tuple[dict[Scan, Volume], dict[Scan, Part]]:
    """Return what was read without its voxels, and the voxels.

    They are trimmed at once, while they are in the cache, unless a step still needs the whole scan.
    """
    husks, parts = {}, {}
    shared: dict[Path, NiftiFile] = {}
    for scan in study.scans:
        try:
            husks[scan], parts[scan] = _read_scan(scan, study, recipe, shared)
        except VolumeError as error:
            problems.append(Problem(study.id, error.file, error.reason, error.remedy))
            continue
        problems += volume_notes(study, scan.path, husks[scan])
    return husks, parts


def _read_scan(
    scan: Scan, study: Study, recipe: Recipe, shared: dict[Path, NiftiFile]
) -> tuple[Volume, Part]:
    # A function of its own, so that the file's memory is free for that of the next one.
    volume = _open(scan, study, shared).volume(scan.volumes)
    volume = check_image(volume, scan.path, recipe.max_nonfinite)
    return volume.without_voxels(), as_it_is(volume) if _has_steps(recipe) else trim(volume)


def _has_steps(recipe: Recipe) -> bool:
    return any(getattr(recipe, step) not in (None, "none") for step in STEPS)


def _open(scan: Scan, study: Study, shared: dict[Path, NiftiFile]) -> NiftiFile:
    """Unpack a file, but only once if several scans of the study lie in it."""
    if sum(other.path == scan.path for other in study.scans) == 1:
        return open_nifti(scan.path)
    if scan.path not in shared:
        shared[scan.path] = open_nifti(scan.path)
    return shared[scan.path]


def _apply_steps(
    study: Study, parts: dict[Scan, Part], recipe: Recipe, problems: list[Problem]
) -> tuple[dict[Scan, Affine], Affine]:
    """Replace the parts by what the recipe's steps make of them."""
    volumes = {scan: part.volume for scan, part in parts.items()}
    stepped = apply_steps(study, volumes, recipe, problems)
    if _has_steps(recipe):
        parts.clear()
        parts.update({scan: trim(volume) for scan, volume in stepped.volumes.items()})
    return stepped.to_study, stepped.world


def _place_scan(scan: Scan, part: Part, grid: Grid, recipe: Recipe) -> PlacedScan | None:
    # The head is found in the file's own voxels: interpolation blurs the edge of a stripped brain.
    volume = part.volume
    zero = -volume.intercept / volume.slope
    head = find_foreground(volume.array, recipe.foreground, zero, part.num_outside)
    if head.background != 0 and part.num_outside:
        return _place_scan(scan, part.whole(), grid, recipe)
    route = find_route(volume.affine, grid)
    box = foreground_box(head, part.full_shape)
    region = None if box is None else box_on_grid(box, route.matrix, grid.shape)
    if box is None or region is None:
        return None
    mask = sample(head.mask, route, region, outside=0, interpolation="nearest")
    is_whole = route.shift is not None and mask.shape == tuple(np.subtract(box[1], box[0]))
    if is_whole:
        tight: Box | None = to_box((0, 0, 0), mask.shape)
    else:
        tight = foreground_box(replace(head, mask=mask), grid.shape)
    if tight is None:
        return None
    mask = in_c_order(mask[slices_of(tight)])
    return PlacedScan(
        scan=scan,
        volume=volume.without_voxels(),
        to_study=np.eye(4),
        part=part,
        route=route,
        overlap=shared_field(part.full_shape, route, part.start),
        box=to_box(np.add(tight[0], region[0]), np.add(tight[1], region[0])),
        mask=mask,
        is_flat=head.is_flat,
        level=head.background,
    )


def _misfit(image: PlacedScan | None, reference: PlacedScan | None, recipe: Recipe) -> str:
    if image is None:
        where = "in the field of view of the reference scan" if reference else "in it"
        return f"no head was found {where}"
    if reference is None:
        return ""
    name = reference.scan.modality
    if image.overlap < recipe.min_overlap:
        return (
            f"it shares only {image.overlap:.0%} of its field of view with the reference scan "
            f"({name})"
        )
    if not _touches(image, reference):
        return f"its head does not touch that of the reference scan ({name})"
    return ""


def _touches(first: PlacedScan, second: PlacedScan) -> bool:
    shared = common_box(first.box, second.box)
    if shared is None:
        return False
    masks = [scan.mask[slices_of(within(shared, scan.box))] for scan in (first, second)]
    # Plane by plane, as it is nearly always settled in the first few.
    return any(bool((a & b).any()) for a, b in zip(*masks, strict=True))
