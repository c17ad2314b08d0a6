"""A test keeps its worst cases, whatever number of processes it has."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmvp_lightning.callbacks.case_tables import CaseTables
from brainmvp_lightning.callbacks.case_volumes import (
    CaseVolumes,
    KeptCase,
    worst_of,
    write_case_volumes,
)
from brainmvp_lightning.commands.report import main
from brainmvp_lightning.evaluation.headline import with_most_modalities
from brainmvp_lightning.evaluation.tables import read_cases
from brainmvp_lightning.volumes.nifti import read_nifti
from tests.datamodules.labelled_cohort import COHORT, write_cohort
from tests.distributed.ranks import launch
from tests.distributed.runs import two_ranks
from tests.tasks.fine_tuning import QUIET, segmentation_data, segmentation_task, trainer

pytestmark = QUIET


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tested = [
        replace(patient, name=f"study-{patient.name}", split="test")
        for patient in COHORT
        if patient.name in "abcde" and patient.split != "val"
    ]
    return write_cohort(tmp_path_factory.mktemp("cohort"), [*COHORT[:4], *tested])


def run_test(cache: Path, run: Path, **options: Any) -> None:
    data = segmentation_data(cache, **options)
    task = segmentation_task(subsets=True)
    task.build(task.describe(data), 0)
    callbacks = [CaseTables(), CaseVolumes(worst=1, longest_edge=16)]
    trainer(run, *callbacks).test(task, datamodule=data, verbose=False)


def test_a_test_without_kept_cases_leaves_none_of_an_earlier_one(tmp_path: Path) -> None:
    case = KeptCase("old", (0.1, 0.0, "old"), {}, {}, np.eye(4))
    write_case_volumes(tmp_path / "test" / "volumes", [case])
    callback = CaseVolumes(worst=0)
    callback.on_test_epoch_end(trainer(tmp_path), segmentation_task())
    assert not list((tmp_path / "test" / "volumes").iterdir())


def worst_study(run: Path) -> str:
    """Return the study with the lowest mean Dice, from the table that the test wrote."""
    dice: dict[str, list[float]] = {}
    for row in with_most_modalities(read_cases(run / "test" / "cases.csv")):
        if row.dice == row.dice:
            dice.setdefault(row.study, []).append(row.dice)
    return min(dice, key=lambda study: (sum(dice[study]) / len(dice[study]), study))


@pytest.fixture(scope="module")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run_test(cohort, folder)
    return folder


def test_the_worst_case_is_kept_small_and_in_place(run: Path) -> None:
    (folder,) = (run / "test" / "volumes").iterdir()
    assert folder.name == worst_study(run)
    rows = with_most_modalities(read_cases(run / "test" / "cases.csv"))
    rows = [row for row in rows if row.study == folder.name]
    facts = json.loads((folder / "case.json").read_text())
    assert set(facts["dice"]) == {row.region for row in rows}
    assert facts["modality"] in rows[0].modalities.split("+")
    volumes = {n: read_nifti(folder / f"{n}.nii.gz") for n in ("image", "label", "prediction")}
    shapes = {volume.array.shape for volume in volumes.values()}
    assert len(shapes) == 1
    assert max(shapes.pop()) <= 16
    assert all(volume.array.dtype == np.uint8 for volume in volumes.values())
    assert len(np.unique(volumes["image"].array)) > 10
    assert volumes["label"].array.max() < len(facts["names"])
    assert np.array_equal(volumes["image"].affine, volumes["label"].affine)


def test_a_report_shows_what_a_real_test_kept(run: Path, tmp_path: Path) -> None:
    assert main([str(run), "-o", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    (folder,) = (run / "test" / "volumes").iterdir()
    assert page.count("<img") == 1
    assert '"kind":"prediction"' in page
    assert folder.name not in page


def kept(study: str, dice: float) -> KeptCase:
    voxel = np.zeros((6, 6, 6), np.uint8)
    return KeptCase(study, (dice, 0.0, study), {"modality": "t1"}, {"image": voxel}, np.eye(4))


def test_the_worst_of_all_processes_are_the_worst_of_each_taken_together() -> None:
    cases = [kept(f"s{number}", (number * 37 % 100) / 100) for number in range(20)]
    ranks = [worst_of(cases[rank::3], 4) for rank in range(3)]
    merged = worst_of([case for rank in ranks for case in rank], 4)
    assert [case.study for case in merged] == [case.study for case in worst_of(cases, 4)]
    assert worst_of(cases, 0) == []


def test_cases_of_an_earlier_test_give_way(tmp_path: Path) -> None:
    write_case_volumes(tmp_path, [kept("old", 0.1), kept("both", 0.2)])
    (tmp_path / "notes").mkdir()  # somebody else's
    write_case_volumes(tmp_path, [kept("both", 0.3), kept("new", 0.4)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "new", "notes"]


def rank_test(rank: int, cohort: Path, run: Path) -> None:
    """Test as one of two processes."""
    data = segmentation_data(cohort)
    task = segmentation_task()
    task.build(task.describe(data), 0)
    callbacks = (CaseTables(), CaseVolumes(worst=1))
    two_ranks(run, "ddp", *callbacks).test(task, datamodule=data, verbose=False)


@pytest.mark.slow
def test_two_processes_keep_the_worst_of_both(cohort: Path, tmp_path: Path) -> None:
    launch(rank_test, 2, cohort, tmp_path / "two")
    (folder,) = (tmp_path / "two" / "test" / "volumes").iterdir()
    assert folder.name == worst_study(tmp_path / "two")
