"""Scans of a study onto its reference scan, and the study onto a template: rigid or affine."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.preprocessing.recipe import Recipe, Registration
from brainmvp_lightning.preprocessing.similarity import mutual_information
from brainmvp_lightning.preprocessing.tools import (
    ImplausibleError,
    MissingToolError,
    ToolError,
    problem_after,
    run_tool,
    workplace,
)
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume, read_nifti
from brainmvp_lightning.volumes.transform import Affine

TIMEOUT_S = 600.0
MAX_SHIFT_MM = 150.0  # of the head's centre; scanner rooms are no larger
MAX_DEGREES = 60.0
SCALES = (0.6, 1.6)  # between a newborn and an adult template
NEGLIGIBLE = 0.25  # of a voxel, mean over the head; no program is that exact
SMALL_MOTION_MM = 3.0  # mean over the head; up to it the header may be the better guess
REMEDY = "correct its header, register it by other means, or leave it out"


def check_registration_tool(recipe: Recipe) -> None:
    """Check that the program is there if the recipe needs it.

    Raises:
        MissingToolError: If it is not installed.
        ValueError: If the template cannot be read.
    """
    if recipe.registration == recipe.template_registration == "none":
        return
    if importlib.util.find_spec("niimath") is None:
        raise MissingToolError("registration needs the program niimath: pip install niimath")
    if recipe.template is not None:
        try:
            _template(recipe.template)
        except VolumeError as error:
            raise ValueError(f"recipe.template {error}") from error


def register_study(
    study: Study, volumes: dict[Scan, Volume], recipe: Recipe, problems: list[Problem]
) -> dict[Scan, Affine]:
    """Find for each scan the way onto the reference scan.

    Args:
        study: The study.
        volumes: What was read.
        recipe: Names the kind of registration, and the order in which the reference is chosen.
        problems: Gets a sentence for each scan that could not be registered.

    Returns:
        World of the scan to world of the reference scan (mm, 4 x 4) for the scans that go on.
    """
    order = reference_order(volumes, recipe)
    fixed = order[0]
    found = {fixed: np.eye(4)}
    for scan in order[1:]:
        try:
            found[scan] = register(volumes[fixed], volumes[scan], recipe.registration)
        except ToolError as error:
            reason = f"it could not be registered to the reference scan ({fixed.modality}): {error}"
            problems.append(problem_after(error, study.id, scan.path, reason, REMEDY))
    return {scan: found[scan] for scan in volumes if scan in found}


def register_to_template(
    study: Study, volumes: dict[Scan, Volume], recipe: Recipe, problems: list[Problem]
) -> Affine | None:
    """Find the way of a study to the template by its reference scan.

    Returns:
        World of the reference scan to world of the template (mm, 4 x 4), or None if there is no
        trustworthy one; then `problems` has a sentence for each scan.
    """
    assert recipe.template is not None
    fixed = reference_order(volumes, recipe)[0]
    try:
        template = _template(recipe.template)
        return register(template, volumes[fixed], recipe.template_registration)
    except ToolError as error:
        reason = f"its study could not be registered to the template: {error}"
        problems += [problem_after(error, study.id, scan.path, reason, REMEDY) for scan in volumes]
        return None


def reference_order(volumes: dict[Scan, Volume], recipe: Recipe) -> list[Scan]:
    """Return the scans in the order in which the reference scan is chosen."""
    names = [*recipe.reference, *(scan.modality for scan in volumes)]
    return sorted(volumes, key=lambda scan: names.index(scan.modality))


def register(fixed: Volume, moving: Volume, kind: Registration) -> Affine:
    """Return the transform from the world of one image to that of another, mm, 4 x 4.

    The fast engine of niimath finds 12 parameters; ``rigid`` keeps the rotation that is nearest to
    them and moves the centre of the head to the same place. A negligible motion is dropped, for it
    would cost an interpolation. Where a motion does not raise the mutual information over that of
    the header's place, a small one is dropped and a large one refused.

    Raises:
        ToolError: If the program fails, or (`ImplausibleError`) its result cannot be right.
    """
    affine = _run_niimath(fixed, moving)
    centre = _centre_mm(moving)
    matrix = nearest_rigid(affine, centre) if kind == "rigid" else affine
    _refuse_the_impossible(affine, centre)
    motion_mm = _mean_motion_mm(matrix, moving)
    if motion_mm < NEGLIGIBLE * np.linalg.norm(moving.affine[:3, :3], axis=0).min():
        return np.eye(4)
    before = mutual_information(fixed, moving, np.eye(4))
    if mutual_information(fixed, moving, matrix) > before:
        return matrix
    if motion_mm < SMALL_MOTION_MM:
        return np.eye(4)
    raise ImplausibleError(f"moving it by {motion_mm:.0f} mm did not make it more similar")


def nearest_rigid(affine: Affine, centre_mm: NDArray[np.float64]) -> Affine:
    """Return the rotation and shift nearest to an affine that treat one point alike.

    Source:
        Polar decomposition; Higham, "Computing the polar decomposition", 1986.
    """
    left, _, right = np.linalg.svd(affine[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = left @ right
    rigid[:3, 3] = affine[:3, :3] @ centre_mm + affine[:3, 3] - rigid[:3, :3] @ centre_mm
    return rigid


def _run_niimath(fixed: Volume, moving: Volume) -> Affine:
    with workplace() as place:
        paths = [place.write("fixed.nii", fixed), place.write("moving.nii", moving)]
        matrix, image = place.folder / "matrix.json", place.folder / "moved.nii"
        inputs = [str(paths[1]), "-p", "1", "-allineate", str(paths[0])]
        command = [sys.executable, "-m", "niimath", *inputs, "-savemat", str(matrix), str(image)]
        run_tool(command, place, TIMEOUT_S)
        try:
            found = np.asarray(json.loads(matrix.read_text())["moving_to_fixed"], np.float64)
        except (OSError, ValueError, KeyError) as error:
            raise ToolError("niimath wrote no transform") from error
    if found.shape != (4, 4) or not np.all(np.isfinite(found)):
        raise ImplausibleError("niimath wrote no usable transform")
    return found


def _refuse_the_impossible(affine: Affine, centre_mm: NDArray[np.float64]) -> None:
    left, scales, right = np.linalg.svd(affine[:3, :3])
    rotation = left @ right
    cosine = np.clip((np.trace(rotation) - 1) / 2, -1, 1)
    degrees = float(np.degrees(np.arccos(cosine)))
    shift = float(np.linalg.norm(affine[:3, :3] @ centre_mm + affine[:3, 3] - centre_mm))
    if np.linalg.det(rotation) < 0:
        raise ImplausibleError("the result mirrors it")
    if degrees > MAX_DEGREES or shift > MAX_SHIFT_MM:
        raise ImplausibleError(f"the result turns it by {degrees:.0f} degrees and {shift:.0f} mm")
    if scales.min() < SCALES[0] or scales.max() > SCALES[1]:
        raise ImplausibleError(f"the result scales it by {scales.min():.2f} to {scales.max():.2f}")


def _centre_mm(volume: Volume) -> NDArray[np.float64]:
    real = volume.real()
    weight = np.clip(real - np.median(real), 0, None)
    if not weight.any():
        weight = np.ones_like(real)
    index = np.asarray(ndimage.center_of_mass(weight), np.float64)
    centre: NDArray[np.float64] = volume.affine[:3, :3] @ index + volume.affine[:3, 3]
    return centre


def _mean_motion_mm(matrix: Affine, moving: Volume) -> float:
    """Return how far the middle half of the field of view moves, on average."""
    ends = [(0.25 * (extent - 1), 0.75 * (extent - 1)) for extent in moving.shape]
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*ends, indexing="ij")])
    points = moving.affine[:3, :3] @ corners + moving.affine[:3, 3:]
    moved = matrix[:3, :3] @ points + matrix[:3, 3:]
    return float(np.linalg.norm(moved - points, axis=0).mean())


@lru_cache(maxsize=1)
def _template(path: str) -> Volume:
    return read_nifti(path)
