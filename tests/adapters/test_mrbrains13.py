from pathlib import Path

import pytest

from brainmvp_lightning.adapters.mrbrains13 import MrBrains13Adapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.study import Scan
from tests.adapters.tiny_images import save_label, save_scans
from tests.adapters.trees import prepare_shipped, touch

SCANS = ("T1.nii", "T1_1mm.nii", "T1_IR.nii", "T2_FLAIR.nii")
LABELS = ("LabelsForTraining.nii", "LabelsForTesting.nii")


def write_release(root: Path) -> None:
    touch(root / "TrainingData/1", *SCANS, *LABELS)
    touch(root / "TestData/1", *SCANS, "LabelsForTesting.nii")
    touch(root / "TestData/2", *SCANS)


def read(root: Path, **options: object) -> tuple[list[Scan], MrBrains13Adapter]:
    adapter = MrBrains13Adapter(str(root), **options)  # type: ignore[arg-type]
    scans = adapter.scans(ModalityVocabulary({"t1_ir": []}))
    assert Manifest(tuple(scans)).validate().problems == ()
    return scans, adapter


def test_cases_of_both_sets_are_patients_of_their_own_with_their_split(tmp_path: Path) -> None:
    write_release(tmp_path)
    scans, adapter = read(tmp_path)
    facts = {
        (scan.patient, scan.split, scan.label.name if scan.label else None, scan.label_scheme)
        for scan in scans
    }
    assert facts == {
        ("training1", "train", "LabelsForTesting.nii", "mrbrains13"),
        ("test1", "test", "LabelsForTesting.nii", "mrbrains13"),
        ("test2", "test", None, None),
    }
    assert {scan.modality: scan.path.name for scan in scans} == {
        "t1": "T1.nii",
        "t1ce": "T1_IR.nii",
        "flair": "T2_FLAIR.nii",
    }
    assert adapter.problems == []
    assert {scan.split for scan in read(tmp_path, split="ratios")[0]} == {None}


def test_the_root_may_be_the_folder_of_a_set(tmp_path: Path) -> None:
    write_release(tmp_path)
    scans, _ = read(tmp_path / "TrainingData")
    assert {(scan.patient, scan.split) for scan in scans} == {("training1", "train")}


@pytest.mark.parametrize(
    ("t1_ir", "modalities"),
    [
        (None, ["t1", "flair"]),
        ("t1_ir", ["t1", "t1_ir", "flair"]),
        ("T1c", ["t1", "t1ce", "flair"]),
    ],
)
def test_inversion_recovery_counts_as_what_is_asked(
    tmp_path: Path, t1_ir: str | None, modalities: list[str]
) -> None:
    write_release(tmp_path)
    scans, adapter = read(tmp_path / "TrainingData", t1_ir=t1_ir)
    assert [scan.modality for scan in scans] == modalities
    assert adapter.problems == []


def test_an_unknown_modality_for_inversion_recovery_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModalityError, match="unknown modality 'inversion'"):
        read(tmp_path, t1_ir="inversion")


def test_labels_of_the_other_kind_are_not_mixed_in(tmp_path: Path) -> None:
    write_release(tmp_path)
    scans, adapter = read(tmp_path, labels="training")
    assert {(scan.patient, scan.label_scheme) for scan in scans} == {
        ("training1", "mrbrains13_training"),
        ("test1", None),
        ("test2", None),
    }
    (problem,) = adapter.problems
    assert problem.file == str(tmp_path / "TestData/1/LabelsForTesting.nii")
    assert "no label by 'labels: training'" in problem.reason


def test_two_folders_of_one_name_are_not_one_case(tmp_path: Path) -> None:
    root = tmp_path / "data"
    touch(root / "trn/1", "T1.nii")
    touch(root / "tst/1", "T2_FLAIR.nii", "LabelsForTesting.nii")
    scans, adapter = read(root)
    assert [(scan.patient, scan.modality, scan.label) for scan in scans] == [("1", "t1", None)]
    assert {Path(problem.file).name for problem in adapter.problems} == {
        "T2_FLAIR.nii",
        "LabelsForTesting.nii",
    }
    assert len(adapter.problems) == 2
    assert f"is already that in {root / 'trn/1'}" in adapter.problems[0].reason


def test_foreign_files_are_set_aside_and_foreign_folders_refused(tmp_path: Path) -> None:
    write_release(tmp_path)
    touch(tmp_path, "TrainingData/1/T1_bet.nii", "other/sub-01_T1w.nii")
    _, adapter = read(tmp_path)
    assert [Path(problem.file).name for problem in adapter.problems] == [
        "T1_bet.nii",
        "sub-01_T1w.nii",
    ]
    with pytest.raises(
        ValueError, match=r"named like TrainingData/1/T1\.nii \(found: sub-01_T1w\)"
    ):
        read(tmp_path / "other")


def test_the_shipped_configuration_prepares(tmp_path: Path) -> None:
    for folder in ("TrainingData/1", "TestData/1"):
        save_scans(tmp_path / "data" / folder, "T1.nii", "T1_IR.nii", "T2_FLAIR.nii")
        save_label(tmp_path / "data" / folder / "LabelsForTesting.nii", 1, 2, 3)
    cache = prepare_shipped("mrbrains13", tmp_path, {"source.root": str(tmp_path / "data")})
    assert {(study.patient, study.split) for study in cache.studies} == {
        ("training1", "train"),
        ("test1", "test"),
    }
    assert all(len(study.scans) == 3 and study.label for study in cache.studies)
