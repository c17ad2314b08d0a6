from pathlib import Path

import pytest

from brainmvp_lightning.preprocessing import selection
from brainmvp_lightning.preprocessing.selection import exclude, freeze_splits
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.study import Scan


def scan(patient: str, session: str = "", dataset: str = "d", modality: str = "t1") -> Scan:
    return Scan(patient, session, dataset, modality, Path(f"{patient}{session}{modality}.nii"))


MANIFEST = Manifest(
    (
        scan("p1", "a"),
        scan("p1", "a", modality="t2"),
        scan("p1", "b"),
        scan("p2"),
        scan("p2", dataset="e"),
    )
)


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "list.csv"
    path.write_text(text)
    return path


def test_excluded_studies_are_listed_once_with_their_reason(tmp_path: Path) -> None:
    path = table(tmp_path, "patient,session,reason\np1,a,moved a lot\n")
    found = exclude(MANIFEST, path)
    assert [scan.session for scan in found.scans] == ["b", "", ""]
    (problem,) = found.problems
    assert (problem.study, problem.is_handled) == ("d_p1_a", False)
    assert problem.reason == "its study is excluded: moved a lot"
    assert problem.remedy == f"delete line 2 of {path} to use it"


@pytest.mark.parametrize(
    ("text", "num_left"),
    [
        ("patient\np1", 2),
        ("patient,dataset\np2,e", 4),
        ("Patient;dataset\np2;", 3),
        ("\ufeffpatient,session,dataset,reason\np1,b,d,\n\n", 4),
    ],
)
def test_what_a_row_leaves_open_holds_for_all(tmp_path: Path, text: str, num_left: int) -> None:
    found = exclude(MANIFEST, table(tmp_path, text))
    assert len(found.scans) == num_left
    assert "no reason is given" in found.problems[0].reason


def test_rows_that_fit_nothing_are_named_with_the_nearest_patient(tmp_path: Path) -> None:
    found = exclude(MANIFEST, table(tmp_path, "patient,session\np1,c\nsub-p2,\n"))
    assert found.scans == MANIFEST.scans
    assert [problem.is_handled for problem in found.problems] == [True, True]
    assert "patient 'p1'" in found.problems[0].reason
    assert found.problems[0].file.endswith("list.csv, line 2")


def test_frozen_splits_win_over_everything_else(tmp_path: Path) -> None:
    given = Manifest((Scan("p1", "", "d", "t1", Path("x"), split="test"), scan("p2"), scan("p3")))
    found = freeze_splits(
        given, table(tmp_path, "patient,split\np1,train\np2,validation\np9,test\n")
    )
    assert [scan.split for scan in found.scans] == ["train", "val", None]
    assert [problem.reason for problem in found.problems] == ["no study fits it (patient 'p9')"]


def test_frozen_splits_may_differ_between_data_sets(tmp_path: Path) -> None:
    found = freeze_splits(MANIFEST, table(tmp_path, "patient,split,dataset\np2,val,d\np2,test,e\n"))
    assert [scan.split for scan in found.scans] == [None, None, None, "val", "test"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patient,split\np1,train\np1,test\n", r"patient 'p1' several splits \(lines 2, 3\)"),
        ("patient,split\np1,trian\n", "line 2: unknown split 'trian'"),
        ("patient\np1\n", "has the columns patient; it needs patient and split"),
        ("patient,spilt\np1,val\n", "has the columns patient, spilt"),
        ("", r"has the columns \(none\)"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        freeze_splits(MANIFEST, table(tmp_path, text))


def test_a_missing_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.csv cannot be read .*correct the path"):
        exclude(MANIFEST, tmp_path / "nowhere.csv")


def test_rows_without_a_patient_get_a_sentence_and_empty_rows_none(tmp_path: Path) -> None:
    text = "patient,session,reason\n,a,moved\n,,\np1,a,\n"
    found = exclude(MANIFEST, table(tmp_path, text))
    assert len(found.scans) == 3
    assert [problem.reason for problem in found.problems if problem.is_handled] == [
        "it names no patient"
    ]
    splits = freeze_splits(MANIFEST, table(tmp_path, "patient,split\n,train\n"))
    assert {scan.split for scan in splits.scans} == {None}
    assert [problem.reason for problem in splits.problems] == ["it names no patient"]


def test_the_nearest_patient_is_sought_for_the_first_rows_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "MAX_HINTS", 2)
    manifest = Manifest((scan("patient2"),))
    found = exclude(manifest, table(tmp_path, "patient\npatient\npatient\npatient\n"))
    assert [problem.remedy for problem in found.problems] == [
        "did you mean 'patient2'?" if number < 2 else "correct the line" for number in range(3)
    ]
