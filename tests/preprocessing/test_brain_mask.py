import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from brainmvp_lightning.preprocessing import brain_mask as module
from brainmvp_lightning.preprocessing.brain_mask import check_mask_tool, mask_brains
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.tools import MissingToolError, PassingProblem, Workplace
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.nifti import Volume, write_nifti
from tests.preprocessing.heads import pose

SHAPE = (10, 12, 8)
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
INSIDE = np.zeros(SHAPE, np.uint8)
INSIDE[3:7, 3:9, 2:6] = 1

# Takes everything above 50 for the brain.
TOOL = """
import sys
import nibabel as nib
image = nib.load(sys.argv[1])
nib.save(nib.Nifti1Image((image.get_fdata() > 50).astype("uint8"), image.affine), sys.argv[2])
"""


def scan(name: str = "t1", mask: Path | None = None) -> Scan:
    return Scan("p", "", "d", name, Path(f"{name}.nii"), brain_mask=mask)


def image(level: int = 100) -> Volume:
    return Volume(np.full(SHAPE, level, np.int16), AFFINE)


def masked(
    volumes: dict[Scan, Volume], rule: str, to_study: dict[Scan, np.ndarray] | None = None
) -> tuple[dict[Scan, Volume], list[Problem]]:
    study = Study("p", "d", "p", "", tuple(volumes), None, None, "train")
    problems: list[Problem] = []
    matrices = to_study or {scan: np.eye(4) for scan in volumes}
    found = mask_brains(study, volumes, matrices, Recipe(brain_mask=rule), problems)
    return found, problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "mask.nii", INSIDE, AFFINE)
    return tmp_path / "mask.nii"


@pytest.fixture
def tool(tmp_path: Path) -> str:
    (tmp_path / "tool.py").write_text(TOOL)
    return shlex.join([sys.executable, str(tmp_path / "tool.py")]) + " {image} {mask}"


def test_everything_outside_the_mask_becomes_0(file: Path) -> None:
    t1 = scan(mask=file)
    found, problems = masked({t1: image()}, "file")
    np.testing.assert_array_equal(found[t1].array, 100 * INSIDE)
    assert found[t1].array.dtype == np.int16
    assert problems == []


def test_a_scan_without_a_mask_takes_that_of_its_study_by_world_coordinates(file: Path) -> None:
    t1, t2 = scan("t1"), scan("t2", file)
    fine = Volume(np.full((20, 24, 16), 7.0, np.float32), np.diag([0.5, 0.5, 0.5, 1.0]))
    fine.affine[:3, 3] = -0.25
    found, _ = masked({t1: fine, t2: image()}, "file")
    expected = INSIDE.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(found[t1].array, 7.0 * expected)


def test_a_mask_moves_with_its_scan(file: Path) -> None:
    t1, t2 = scan("t1"), scan("t2", file)
    motion = pose((0, 0, 0), (2, 0, 0))
    moved = replace(image(), affine=motion @ AFFINE)
    found, _ = masked({t1: image(), t2: moved}, "file", {t1: np.eye(4), t2: motion})
    np.testing.assert_array_equal(found[t2].array, 100 * INSIDE)
    np.testing.assert_array_equal(found[t1].array, 100 * np.roll(INSIDE, 2, axis=0))


def test_a_real_0_is_a_0_of_the_file_even_with_an_offset(file: Path) -> None:
    t1 = scan(mask=file)
    found, _ = masked({t1: replace(image(), slope=2.0, intercept=-50.0)}, "file")
    assert (found[t1].slope, found[t1].intercept) == (1.0, 0.0)
    np.testing.assert_array_equal(found[t1].array, 150.0 * INSIDE)


def test_a_study_without_masks_is_set_aside(tmp_path: Path) -> None:
    found, problems = masked({scan(): image()}, "file")
    assert found == {}
    assert problems[0].reason == "it has no brain mask"
    assert not problems[0].is_handled


def test_a_useless_mask_is_named_and_another_takes_its_place(file: Path, tmp_path: Path) -> None:
    write_nifti(tmp_path / "empty.nii", 0 * INSIDE, AFFINE)
    t1, t2, t2_far = scan("t1", tmp_path / "empty.nii"), scan("t2", file), scan("flair")
    far = replace(image(), affine=pose((0, 0, 0), (99, 0, 0)) @ AFFINE)
    found, problems = masked({t1: image(), t2: image(), t2_far: far}, "file")
    assert set(found) == {t1, t2}
    reasons = [problem.reason for problem in problems]
    assert reasons == ["brain mask: it is empty", "no brain mask covers any part of it"]


def test_a_command_draws_one_mask_for_the_study(tool: str) -> None:
    t1, t2 = scan("t1"), scan("t2")
    bright = Volume((100 * INSIDE).astype(np.int16) + 10, AFFINE)
    found, problems = masked({t2: image(20), t1: bright}, tool)
    np.testing.assert_array_equal(found[t1].array, 110 * INSIDE)
    np.testing.assert_array_equal(found[t2].array, 20 * INSIDE)
    assert problems == []


def test_a_command_gets_the_orientation_of_the_file(tool: str) -> None:
    t1, motion = scan(), pose((0, 0, 30), (4, 5, 6))
    bright = Volume((100 * INSIDE).astype(np.int16), motion @ AFFINE)
    found, _ = masked({t1: bright}, tool, {t1: motion})
    np.testing.assert_array_equal(found[t1].array, 100 * INSIDE)


def test_a_command_that_fails_on_one_scan_is_tried_on_the_next(tool: str) -> None:
    t1, t2 = scan("t1"), scan("t2")
    found, problems = masked({t1: image(20), t2: image(60)}, tool)  # all below, all above 50
    assert set(found) == {t1, t2}
    assert "no brain mask could be drawn on it: it is empty" in problems[0].reason
    assert problems[0].is_handled


def test_a_broken_command_sets_the_study_aside_with_its_last_words() -> None:
    command = f"{sys.executable} -c \"import sys; sys.exit('no such net')\" {{image}} {{mask}}"
    found, problems = masked({scan(): image()}, command)
    assert found == {}
    assert "failed with code 1: no such net" in problems[0].reason
    assert problems[1].reason == "it has no brain mask"


def test_hd_bet_is_called_as_a_command_and_holes_are_filled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words: list[str] = []

    def run(command: list[str], place: Workplace, timeout_s: float) -> None:
        words[:] = command
        brain = INSIDE * 100
        brain[5, 5, 4] = 0
        write_nifti(command[command.index("-o") + 1], brain, AFFINE)

    monkeypatch.setattr(module, "run_tool", run)
    t1 = scan()
    found, _ = masked({t1: image()}, "hd-bet")
    np.testing.assert_array_equal(found[t1].array, 100 * INSIDE)
    assert words[0] == "hd-bet"
    assert words[-3:] == ["-device", "cpu", "--disable_tta"]


def test_deepbet_is_called_with_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_bet(images: list[str], mask_paths: list[str], **options: object) -> None:
        assert Path(images[0]).exists()
        assert options == {"no_gpu": True, "skip_broken": False}
        write_nifti(mask_paths[0], INSIDE, AFFINE)

    monkeypatch.setitem(sys.modules, "deepbet", SimpleNamespace(run_bet=run_bet))
    t1 = scan()
    found, _ = masked({t1: image()}, "deepbet")
    np.testing.assert_array_equal(found[t1].array, 100 * INSIDE)


def test_without_deepbet_the_hint_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepbet", None)
    with pytest.raises(MissingToolError, match="pip install deepbet"):
        masked({scan(): image()}, "deepbet")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("deepbet", "pip install deepbet"),
        ("hd-bet", "pip install hd-bet"),
        ("no_such_tool {image} {mask}", "names the program 'no_such_tool', which is not there"),
    ],
)
def test_a_missing_tool_is_named_before_the_work(
    monkeypatch: pytest.MonkeyPatch, rule: str, words: str
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(MissingToolError, match=words):
        check_mask_tool(Recipe(brain_mask=rule))
    check_mask_tool(Recipe(brain_mask="file"))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_mask_of_everything_changes_nothing_however_the_scan_is_tilted(
    tmp_path: Path, dtype: type
) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        turn, shift = rng.uniform(-8, 8, 3), rng.uniform(-100, 100, 3)
        tilted = pose(tuple(turn), tuple(shift)) @ np.diag([1, 1, 5.0, 1])
        path = tmp_path / f"{number}.nii"
        write_nifti(path, np.ones(SHAPE, np.uint8), tilted.astype(dtype).astype(float))
        t1 = scan(mask=path)
        found, _ = masked({t1: replace(image(), affine=tilted)}, "file")
        np.testing.assert_array_equal(found[t1].array, image().array)


def test_a_mask_of_thick_slices_covers_its_outer_slices_whole(tmp_path: Path) -> None:
    thick, thin = np.diag([1, 1, 2.0, 1]), np.eye(4)
    thin[2, 3] = -0.5  # 16 slices of 1 mm in 8 of 2 mm
    write_nifti(tmp_path / "mask.nii", np.ones(SHAPE, np.uint8), thick)
    t1, volume = scan(mask=tmp_path / "mask.nii"), Volume(np.ones((10, 12, 16), np.int16), thin)
    found, _ = masked({t1: volume}, "file")
    np.testing.assert_array_equal(found[t1].array, volume.array)


def test_a_command_that_fails_is_a_passing_fault_and_an_empty_mask_is_none(tool: str) -> None:
    command = f'{sys.executable} -c "import sys; sys.exit(137)" {{image}} {{mask}}'
    _, problems = masked({scan(): image()}, command)
    assert [isinstance(problem, PassingProblem) for problem in problems] == [True, True]
    _, problems = masked({scan(): image(20)}, tool)
    assert [isinstance(problem, PassingProblem) for problem in problems] == [False, False]
