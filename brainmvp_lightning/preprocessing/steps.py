"""What happens to the scans of a study between reading and placing: all of it is optional."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from brainmvp_lightning.preprocessing.bias import check_bias_tool, correct_bias
from brainmvp_lightning.preprocessing.brain_mask import check_mask_tool, mask_brains
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.registration import (
    check_registration_tool,
    register_study,
    register_to_template,
)
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.nifti import Volume
from brainmvp_lightning.volumes.transform import Affine


@dataclass(frozen=True)
class Stepped:
    """The scans of a study after the steps that its recipe names.

    Args:
        volumes: Scans that go on; registration has changed nothing but their affines.
        to_study: World to world transform (mm, 4 x 4) that was applied to the affine of each scan:
            to the reference scan, and to the template where there is one.
        world: The part of it that leads to the template and thus holds for the annotation, too,
            which lies in the world of the reference scan; 4 x 4, the identity without a template.
    """

    volumes: dict[Scan, Volume]
    to_study: dict[Scan, Affine]
    world: Affine


def apply_steps(
    study: Study, volumes: dict[Scan, Volume], recipe: Recipe, problems: list[Problem]
) -> Stepped:
    """Register the scans, mask the brain and correct the bias field, as far as the recipe says.

    Args:
        study: The study.
        volumes: What was read.
        recipe: Names the steps.
        problems: Gets a sentence for each scan that is set aside or was odd.

    Raises:
        MissingToolError: If a step needs a program that is not installed.
    """
    to_study = {scan: np.eye(4) for scan in volumes}
    world = np.eye(4)
    if not volumes:
        return Stepped(volumes, to_study, world)
    if recipe.registration != "none":
        to_study = register_study(study, volumes, recipe, problems)
    if recipe.template_registration != "none":
        found = register_to_template(study, {s: volumes[s] for s in to_study}, recipe, problems)
        if found is None:
            return Stepped({}, {}, world)
        world = found
        to_study = {scan: world @ matrix for scan, matrix in to_study.items()}
    moved = {scan: _moved(volumes[scan], matrix) for scan, matrix in to_study.items()}
    masked = mask_brains(study, moved, to_study, recipe, problems)
    corrected = correct_bias(study, masked, recipe, problems)
    return Stepped(corrected, {scan: to_study[scan] for scan in corrected}, world)


def check_tools(recipe: Recipe) -> None:
    """Check before a long job that everything the steps need is there.

    Raises:
        MissingToolError: If a program or package is not installed.
        ValueError: If the template cannot be read.
    """
    check_registration_tool(recipe)
    check_mask_tool(recipe)
    check_bias_tool(recipe)


def _moved(volume: Volume, matrix: Affine) -> Volume:
    if np.array_equal(matrix, np.eye(4)):
        return volume
    return replace(volume, affine=matrix @ volume.affine)
