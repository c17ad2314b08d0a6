"""All usable scans of a study on one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.checks import read_image
from brainmvp_lightning.preprocessing.foreground import find_foreground, foreground_box
from brainmvp_lightning.preprocessing.geometry import Box, Grid, study_grid, to_ras
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.resampling import Placed, place
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume


@dataclass(frozen=True)
class PlacedScan:
    """A scan on the grid of its study.

    Args:
        scan: Where it came from.
        volume: What was read; without its voxels.
        placed: Its voxels on the grid.
        mask: ``x y z``, True in its head.
        background: Real intensity of everything else.
        box: Box around its head.
    """

    scan: Scan
    volume: Volume
    placed: Placed
    mask: NDArray[np.bool_]
    background: float
    box: Box


def place_scans(
    study: Study, recipe: Recipe, problems: list[Problem]
) -> tuple[Grid, list[PlacedScan]] | None:
    """Read the scans of a study and bring them onto the grid of its reference scan.

    Args:
        study: What to read.
        recipe: Names the order in which the reference is chosen.
        problems: Gets a sentence for each scan that is set aside or was odd.

    Returns:
        The grid and the scans in the study's order, or None if no scan is usable.
    """
    volumes = _read_scans(study, recipe, problems)
    order = [*recipe.reference, *(scan.modality for scan in study.scans)]
    queue = sorted(volumes, key=lambda scan: order.index(scan.modality))
    grid, reference, images = None, None, {}
    for scan in queue:
        volume = volumes.pop(scan)  # whole volumes are large: drop each as soon as it is placed
        if reference is None:
            turned, affine = to_ras(volume.array, volume.affine)
            grid = study_grid(turned.shape, affine, recipe.spacing_mm)
        assert grid is not None
        image = _place_scan(scan, volume, grid, recipe)
        fault = _misfit(image, reference, recipe)
        if image is None or fault:
            remedy = "register it to the others, correct its header, or leave it out"
            problems.append(Problem(study.id, str(scan.path), fault, remedy))
            continue
        reference = reference or image
        images[scan] = image
    if grid is None or reference is None:
        return None
    return grid, [images[scan] for scan in study.scans if scan in images]


def volume_notes(study: Study, path: Path, volume: Volume) -> list[Problem]:
    """Return a sentence for each oddity that was handled while reading."""
    return [
        Problem(study.id, str(path), note, "check it", is_handled=True) for note in volume.notes
    ]


def _read_scans(study: Study, recipe: Recipe, problems: list[Problem]) -> dict[Scan, Volume]:
    volumes = {}
    for scan in study.scans:
        try:
            volumes[scan] = read_image(scan.path, recipe.max_nonfinite)
        except VolumeError as error:
            problems.append(Problem(study.id, error.file, error.reason, error.remedy))
            continue
        problems += volume_notes(study, scan.path, volumes[scan])
    return volumes


def _place_scan(scan: Scan, volume: Volume, grid: Grid, recipe: Recipe) -> PlacedScan | None:
    # The head is found in the file's own voxels: interpolation blurs the edge of a stripped brain.
    head = find_foreground(volume.array, recipe.foreground, -volume.intercept / volume.slope)
    placed = place(volume, grid, head.background, recipe.interpolation)
    mask = Volume(head.mask.view(np.uint8), volume.affine)
    head = replace(head, mask=place(mask, grid, 0, "nearest").array.view(np.bool_))
    box = foreground_box(head)
    if placed.overlap == 0 or box is None:
        return None
    background = head.background * volume.slope + volume.intercept
    return PlacedScan(scan, volume.without_voxels(), placed, head.mask, background, box)


def _misfit(image: PlacedScan | None, reference: PlacedScan | None, recipe: Recipe) -> str:
    if image is None:
        where = "in the field of view of the reference scan" if reference else "in it"
        return f"no head was found {where}"
    if reference is None:
        return ""
    name = reference.scan.modality
    if image.placed.overlap < recipe.min_overlap:
        share = f"{image.placed.overlap:.0%}"
        return f"it shares only {share} of its field of view with the reference scan ({name})"
    if not np.any(image.mask & reference.mask):
        return f"its head does not touch that of the reference scan ({name})"
    return ""
