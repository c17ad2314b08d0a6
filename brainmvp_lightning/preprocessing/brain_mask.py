"""Nothing but the brain: masks that a data set brings, or that a program draws."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.registration import reference_order
from brainmvp_lightning.preprocessing.tools import (
    MissingToolError,
    PassingProblem,
    ToolError,
    run_tool,
    workplace,
)
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume, read_nifti
from brainmvp_lightning.volumes.transform import Affine

HD_BET = "hd-bet -i {image} -o {mask} -device cpu --disable_tta"  # writes the brain, not its mask
TIMEOUT_S = 1800.0
REMEDY = "give a mask, set recipe.brain_mask to a tool or to none, or leave the scan out"


def check_mask_tool(recipe: Recipe) -> None:
    """Check that the program is there if the recipe needs it.

    Raises:
        MissingToolError: If it is not installed.
    """
    rule = recipe.brain_mask
    if rule == "deepbet" and importlib.util.find_spec("deepbet") is None:
        raise MissingToolError("recipe.brain_mask 'deepbet' needs a package: pip install deepbet")
    if rule == "hd-bet" and shutil.which("hd-bet") is None:
        raise MissingToolError("recipe.brain_mask 'hd-bet' needs a program: pip install hd-bet")
    if "{mask}" in rule and shutil.which(shlex.split(rule)[0]) is None:
        raise MissingToolError(
            f"recipe.brain_mask names the program {shlex.split(rule)[0]!r}, which is not there; "
            "install it or give its full path"
        )


def mask_brains(
    study: Study,
    volumes: dict[Scan, Volume],
    to_study: dict[Scan, Affine],
    recipe: Recipe,
    problems: list[Problem],
) -> dict[Scan, Volume]:
    """Set everything outside the brain to 0.

    A scan with a mask of its own (on its own grid or another in its world) takes that one; the
    others take the first mask of the study, by world coordinates. A program draws one mask per
    study: that of the reference scan, so that all modalities show the same region.

    Args:
        study: The study.
        volumes: Its scans, registered if the recipe says so.
        to_study: What registration did to each scan, mm, 4 x 4; it holds for its mask, too.
        recipe: Says where masks come from.
        problems: Gets a sentence for each scan that is set aside, and each useless mask.

    Raises:
        MissingToolError: If a program or package is not installed.
    """
    if recipe.brain_mask == "none":
        return volumes
    found = _masks_of_files if recipe.brain_mask == "file" else _mask_of_a_tool
    masks = found(study, volumes, to_study, recipe, problems)
    has_failed = not masks and any(isinstance(problem, PassingProblem) for problem in problems)
    masked = {}
    for scan, volume in volumes.items():
        inside = _on_grid_of(volume, scan, masks)
        if inside is None:
            reason = "it has no brain mask" if not masks else "no brain mask covers any part of it"
            kind = PassingProblem if has_failed else Problem
            problems.append(kind(study.id, str(scan.path), reason, REMEDY))
            continue
        masked[scan] = _masked(volume, inside)
    return masked


def _on_grid_of(volume: Volume, scan: Scan, masks: dict[Scan, Volume]) -> NDArray[np.bool_] | None:
    mask = masks.get(scan) or next(iter(masks.values()), None)
    if mask is None:
        return None
    to_mask = np.linalg.inv(mask.affine) @ volume.affine
    # Voxels reach half an edge around their centres; plain "constant" ends at the centres.
    inside: NDArray[np.bool_] = ndimage.affine_transform(
        mask.array,
        to_mask[:3, :3],
        to_mask[:3, 3],
        output_shape=volume.shape,
        order=0,
        mode="grid-constant",
    ).astype(np.bool_)
    return inside if inside.any() else None


def _masked(volume: Volume, inside: NDArray[np.bool_]) -> Volume:
    if volume.intercept == 0:  # a 0 in the file is a real 0
        array = np.where(inside, volume.array, volume.array.dtype.type(0))
        return replace(volume, array=array)
    real = np.where(inside, volume.real(), np.float32(0))
    return Volume(real, volume.affine, notes=volume.notes)


def _masks_of_files(
    study: Study,
    volumes: dict[Scan, Volume],
    to_study: dict[Scan, Affine],
    recipe: Recipe,
    problems: list[Problem],
) -> dict[Scan, Volume]:
    masks = {}
    for scan in reference_order(volumes, recipe):
        if scan.brain_mask is None:
            continue
        try:
            masks[scan] = _read_mask(scan.brain_mask, to_study[scan])
        except VolumeError as error:
            reason = f"brain mask: {error.reason}"
            problems.append(Problem(study.id, error.file, reason, error.remedy))
    return masks


def _mask_of_a_tool(
    study: Study,
    volumes: dict[Scan, Volume],
    to_study: dict[Scan, Affine],
    recipe: Recipe,
    problems: list[Problem],
) -> dict[Scan, Volume]:
    for scan in reference_order(volumes, recipe):
        # The tool gets the file's own orientation: some know nothing else.
        original = np.linalg.inv(to_study[scan]) @ volumes[scan].affine
        try:
            mask = _draw_mask(replace(volumes[scan], affine=original), recipe.brain_mask)
        except (ToolError, VolumeError) as error:
            fault = error.reason if isinstance(error, VolumeError) else str(error)
            reason = f"no brain mask could be drawn on it: {fault}"
            remedy = "the next scan of the study was tried"
            kind = PassingProblem if isinstance(error, ToolError) else Problem
            problems.append(kind(study.id, str(scan.path), reason, remedy, is_handled=True))
            continue
        return {scan: replace(mask, affine=to_study[scan] @ mask.affine)}
    return {}


def _draw_mask(volume: Volume, rule: str) -> Volume:
    with workplace() as place:
        image, mask = place.write("image.nii.gz", volume), place.folder / "mask.nii.gz"
        if rule == "deepbet":
            _run_deepbet(image, mask)
        else:
            command = list(_filled(HD_BET if rule == "hd-bet" else rule, image, mask))
            run_tool(command, place, TIMEOUT_S)
        if not mask.exists():
            raise ToolError("the program wrote no mask")
        drawn = _read_mask(mask, np.eye(4))
    if rule == "hd-bet":
        return replace(drawn, array=ndimage.binary_fill_holes(drawn.array).view(np.uint8))
    return drawn


def _filled(command: str, image: Path, mask: Path) -> Iterator[str]:
    for word in shlex.split(command):
        yield word.replace("{image}", str(image)).replace("{mask}", str(mask))


def _run_deepbet(image: Path, mask: Path) -> None:
    try:
        run_bet = importlib.import_module("deepbet").run_bet
    except ImportError as error:
        raise MissingToolError(
            f"recipe.brain_mask 'deepbet' needs a package ({error}): pip install deepbet"
        ) from error
    try:
        run_bet([str(image)], mask_paths=[str(mask)], no_gpu=True, skip_broken=False)
    except Exception as error:  # whatever a network does on an odd image
        raise ToolError(f"deepbet failed ({type(error).__name__}: {error})") from error


def _read_mask(path: Path, to_study: Affine) -> Volume:
    volume = read_nifti(path)
    mask: NDArray[Any] = np.nan_to_num(volume.real()) != 0
    if not mask.any():
        raise VolumeError(str(path), "it is empty", "leave it out")
    return Volume(mask.view(np.uint8), to_study @ volume.affine)
