import importlib.util
from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.preprocessing import registration as module
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.registration import (
    check_registration_tool,
    nearest_rigid,
    register,
)
from brainmvp_lightning.preprocessing.similarity import mutual_information
from brainmvp_lightning.preprocessing.steps import apply_steps
from brainmvp_lightning.preprocessing.tools import MissingToolError, ToolError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.nifti import Volume, write_nifti
from tests.preprocessing.heads import distance_mm, pose, scan_head

MOTION = pose((5, -4, 8), (7, -9, 5))
COARSE = (6.0, 6.0, 6.0)
needs_niimath = pytest.mark.skipif(
    importlib.util.find_spec("niimath") is None, reason="needs niimath"
)


def study_of(*modalities: str) -> Study:
    scans = tuple(Scan("p", "", "d", name, Path(f"{name}.nii")) for name in modalities)
    return Study("p", "d", "p", "", scans, None, None, "train")


def finds(monkeypatch: pytest.MonkeyPatch, matrix: np.ndarray) -> None:
    """Let the program find this transform."""
    monkeypatch.setattr(module, "_run_niimath", lambda *_: matrix)


@pytest.mark.slow
@needs_niimath
@pytest.mark.parametrize("kind", ["rigid", "affine"])
@pytest.mark.parametrize("spacing", [(4, 4, 4), (2, 2, 6)])
def test_a_head_that_moved_by_a_known_transform_comes_back(
    kind: module.Registration, spacing: tuple[float, float, float]
) -> None:
    found = register(scan_head(0), scan_head(1, MOTION, spacing), kind)
    assert distance_mm(np.eye(4), MOTION) > 15
    assert distance_mm(found, MOTION) < 1
    if kind == "rigid":
        np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-6)


@pytest.mark.slow
@needs_niimath
def test_a_study_comes_to_its_reference_scan_and_both_to_the_template(tmp_path: Path) -> None:
    study = study_of("t1", "flair")
    t1, flair = study.scans
    tilted = pose((-6, 3, 4), (4, 8, -6))
    write_nifti(tmp_path / "template.nii", scan_head(0).array, scan_head(0).affine)
    recipe = Recipe(
        registration="rigid",
        template=str(tmp_path / "template.nii"),
        template_registration="rigid",
    )
    problems: list[Problem] = []
    volumes = {t1: scan_head(0, tilted, (4, 4, 4)), flair: scan_head(1, MOTION, (4, 4, 4))}
    stepped = apply_steps(study, volumes, recipe, problems)
    assert problems == []
    assert distance_mm(stepped.world, tilted) < 1
    assert distance_mm(stepped.to_study[flair], MOTION) < 1.5
    moved = stepped.volumes[flair]
    np.testing.assert_allclose(moved.affine, stepped.to_study[flair] @ volumes[flair].affine)
    assert moved.array is volumes[flair].array


def test_mutual_information_is_highest_in_the_right_place() -> None:
    fixed, moving = scan_head(0, None, COARSE), scan_head(1, MOTION, COARSE)
    right = mutual_information(fixed, moving, MOTION)
    wrong = [pose((0, 0, 0), (0, 0, 0)), MOTION @ pose((6, 0, 0), (0, 0, 0)), np.linalg.inv(MOTION)]
    assert all(mutual_information(fixed, moving, matrix) < right - 0.02 for matrix in wrong)
    assert mutual_information(fixed, moving, pose((0, 0, 0), (0, 0, 400))) == 0
    assert mutual_information(fixed, fixed, np.eye(4)) == pytest.approx(2)


def test_the_rigid_part_keeps_the_centre_and_the_rotation() -> None:
    centre = np.array([10.0, -20.0, 30.0])
    scaled = MOTION.copy()
    scaled[:3, :3] = MOTION[:3, :3] @ np.diag([1.02, 0.97, 1.01])
    rigid = nearest_rigid(scaled, centre)
    moved = [matrix[:3, :3] @ centre + matrix[:3, 3] for matrix in (scaled, rigid)]
    np.testing.assert_allclose(moved[0], moved[1])
    np.testing.assert_allclose(rigid[:3, :3], MOTION[:3, :3], atol=2e-3)


def test_a_motion_that_helps_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, MOTION)
    found = register(scan_head(0, None, COARSE), scan_head(1, MOTION, COARSE), "rigid")
    np.testing.assert_allclose(found, MOTION, atol=1e-9)


def test_a_negligible_motion_and_a_small_one_that_does_not_help_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fixed, moving = scan_head(0, None, COARSE), scan_head(1, None, COARSE)
    for shift in (0.5, 2.9):
        finds(monkeypatch, pose((0, 0, 0), (shift, 0, 0)))
        np.testing.assert_array_equal(register(fixed, moving, "rigid"), np.eye(4))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (pose((0, 0, 0), (0, 12, 0)), "moving it by 12 mm did not make it more similar"),
        (pose((0, 0, 90), (0, 0, 0)), "turns it by 90 degrees"),
        (pose((0, 0, 0), (0, 0, 200)), "turns it by 0 degrees and 200 mm"),
        (np.diag([1, 2.0, 1, 1]), "scales it by 1.00 to 2.00"),
        (np.diag([-1.0, 1, 1, 1]), "mirrors it"),
    ],
)
def test_an_impossible_result_is_refused(
    monkeypatch: pytest.MonkeyPatch, matrix: np.ndarray, words: str
) -> None:
    finds(monkeypatch, matrix)
    with pytest.raises(ToolError, match=words):
        register(scan_head(0, None, COARSE), scan_head(1, None, COARSE), "rigid")


def test_a_scan_that_cannot_be_registered_is_set_aside_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = study_of("flair", "t1", "t2")
    flair, t1, t2 = study.scans
    volumes = {
        t1: scan_head(0, None, COARSE),
        flair: scan_head(1, MOTION, COARSE),
        t2: scan_head(1, None, COARSE),
    }

    def run(fixed: Volume, moving: Volume) -> np.ndarray:
        assert fixed is volumes[t1]
        return MOTION if moving is volumes[flair] else pose((0, 0, 0), (0, 12, 0))

    monkeypatch.setattr(module, "_run_niimath", run)
    problems: list[Problem] = []
    stepped = apply_steps(study, volumes, Recipe(registration="rigid"), problems)
    assert set(stepped.volumes) == set(stepped.to_study) == {t1, flair}
    assert [problem.file for problem in problems] == ["t2.nii"]
    assert "could not be registered to the reference scan (t1): moving it" in problems[0].reason
    assert not problems[0].is_handled
    np.testing.assert_array_equal(stepped.world, np.eye(4))
    np.testing.assert_allclose(stepped.volumes[flair].affine, MOTION @ volumes[flair].affine)


def test_a_study_that_does_not_fit_the_template_is_set_aside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    template = scan_head(0, None, COARSE)
    write_nifti(tmp_path / "template.nii", template.array, template.affine)
    recipe = Recipe(template=str(tmp_path / "template.nii"), template_registration="affine")
    finds(monkeypatch, pose((0, 0, 0), (0, 12, 0)))
    study = study_of("t1", "t2")
    volumes = dict.fromkeys(study.scans, template)
    problems: list[Problem] = []
    assert apply_steps(study, volumes, recipe, problems).volumes == {}
    assert [problem.file for problem in problems] == ["t1.nii", "t2.nii"]
    assert all("to the template: moving it by 12 mm" in problem.reason for problem in problems)


def test_without_steps_nothing_changes() -> None:
    study = study_of("t1")
    volumes = dict.fromkeys(study.scans, scan_head(0, None, COARSE))
    stepped = apply_steps(study, volumes, Recipe(), [])
    assert stepped.volumes[study.scans[0]] is volumes[study.scans[0]]
    np.testing.assert_array_equal(stepped.to_study[study.scans[0]], np.eye(4))


@needs_niimath
def test_a_program_that_hangs_is_part_of_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume = scan_head(0, None, COARSE)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.01)
    with pytest.raises(ToolError, match=r"took longer than 0.01 s"):
        register(volume, volume, "rigid")


def test_a_missing_program_is_named_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingToolError, match="pip install niimath"):
        check_registration_tool(Recipe(registration="rigid"))
    check_registration_tool(Recipe())


@needs_niimath
def test_a_missing_template_is_named_before_the_work(tmp_path: Path) -> None:
    recipe = Recipe(template=str(tmp_path / "t.nii"), template_registration="rigid")
    with pytest.raises(ValueError, match=r"recipe.template .*t.nii: there is no such file"):
        check_registration_tool(recipe)
