from pathlib import Path

import pytest

from brainmvp_lightning.studies.manifest import Manifest, ManifestError, portable_path
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.splits import split_of
from brainmvp_lightning.studies.study import Scan

VOCABULARY = ModalityVocabulary()


def read(folder: Path, text: str) -> Manifest:
    table = folder / "scans.csv"
    table.write_text(text)
    return Manifest.read(table, VOCABULARY)


def scan(patient: str, modality: str, path: str, **more: str | Path) -> Scan:
    return Scan(patient, "", "d", modality, Path(path), **more)  # type: ignore[arg-type]


def test_rows_become_scans_with_paths_relative_to_the_table(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        "patient,session,dataset,modality,path,label,class,split\n"
        "p1,s1,clinic,T1Gd,a/x.nii.gz,a/seg.nii.gz,HGG,validation\n",
    )
    assert manifest.scans == (
        Scan(
            "p1",
            "s1",
            "clinic",
            "t1ce",
            tmp_path / "a/x.nii.gz",
            tmp_path / "a/seg.nii.gz",
            "HGG",
            "val",
        ),
    )


def test_only_three_columns_are_needed_and_other_separators_work(tmp_path: Path) -> None:
    manifest = read(tmp_path, "\ufeffPatient;Modality;Path;age\np1;flair;x.nii;30\n")
    assert [scan.modality for scan in manifest.scans] == ["flair"]
    assert manifest.scans[0].dataset == "scans"


def test_writing_and_reading_gives_the_same_scans(tmp_path: Path) -> None:
    scans = (
        scan("p1", "t1", str(tmp_path / "p1/t1.nii.gz"), label=tmp_path / "l.nii", split="test"),
        scan("p,2", "adc", str(tmp_path / "p2/adc.nii.gz"), target_class='odd "class"'),
    )
    Manifest(scans).write(tmp_path / "out.csv")
    assert "p1/t1.nii.gz,l.nii" in (tmp_path / "out.csv").read_text()
    assert Manifest.read(tmp_path / "out.csv", VOCABULARY).scans == scans


def test_a_missing_column_names_the_one_to_rename(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"no column 'modality'; rename 'modalty' to 'modality'"
    ):
        read(tmp_path, "patient,modalty,path\np1,t1,x\n")


def test_a_misspelt_optional_column_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="rename 'splt' to 'split'"):
        read(tmp_path, "patient,modality,path,splt\np1,t1,x,test\n")


def test_a_missing_or_empty_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nowhere.csv cannot be read \(No such file"):
        Manifest.read(tmp_path / "nowhere.csv", VOCABULARY)
    with pytest.raises(ManifestError, match="is empty"):
        read(tmp_path, "")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00p")
    with pytest.raises(ManifestError, match="not UTF-8"):
        Manifest.read(tmp_path / "x.csv", VOCABULARY)


def test_bad_rows_are_set_aside_and_the_others_stay(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        "patient,modality,path,split\np1,t1,a.nii,\np1,flare,b.nii,\n,t1,c.nii,\np2,t1,d.nii,dev1\n",
    )
    assert [scan.path.name for scan in manifest.scans] == ["a.nii"]
    reasons = [f"{problem.file[-6:]}: {problem.reason}" for problem in manifest.problems]
    assert reasons[0].startswith("line 3: unknown modality 'flare'; did you mean 'flair'?")
    assert reasons[1] == "line 4: it has no patient"
    assert reasons[2].startswith("line 5: unknown split 'dev1'")


def test_of_one_modality_twice_the_first_path_stays() -> None:
    manifest = Manifest((scan("p", "t1", "b.nii"), scan("p", "t1", "a.nii"))).validate()
    assert [str(kept.path) for kept in manifest.scans] == ["a.nii"]
    assert "another t1, which is used: a.nii" in manifest.problems[0].reason
    assert manifest.problems[0].file == "b.nii"


def test_one_file_cannot_serve_two_studies_or_two_modalities() -> None:
    rows = (scan("p", "t1", "a.nii"), scan("q", "t1", "a.nii"), scan("p", "t2", "a.nii"))
    manifest = Manifest(rows).validate()
    assert manifest.scans == rows[:1]
    assert "already used by study d_p" in manifest.problems[0].reason
    assert "listed twice, as t1 and as t2" in manifest.problems[1].reason


def test_a_file_of_another_study_costs_a_study_nothing() -> None:
    rows = (scan("p", "t1", "a.nii"), scan("q", "t1", "a.nii"), scan("q", "t1", "b.nii"))
    manifest = Manifest(rows).validate()
    assert manifest.scans == (rows[0], rows[2])
    assert [problem.reason for problem in manifest.problems] == ["it is already used by study d_p"]


def test_one_file_by_two_paths_is_one_file() -> None:
    rows = (scan("p", "t1", "a.nii"), scan("q", "t1", str(Path("b/../a.nii").absolute())))
    manifest = Manifest(rows).validate()
    assert len(manifest.scans) == 1
    assert "already used by study" in manifest.problems[0].reason


def test_contradictions_are_listed_in_one_error() -> None:
    rows = (
        scan("p", "t1", "a", split="train", target_class="HGG"),
        scan("p", "t2", "b", split="test", target_class="LGG"),
        scan("q", "t1", "c", label=Path("l1")),
        scan("q", "t2", "d", label=Path("l2")),
    )
    with pytest.raises(ManifestError, match="in 3 places") as caught:
        Manifest(rows).validate()
    assert "patient d p has 2 splits (test, train)" in str(caught.value)
    assert "study d p has 2 classes (HGG, LGG)" in str(caught.value)
    assert "study d q has 2 labels (l1, l2)" in str(caught.value)


def test_studies_group_scans_in_vocabulary_order() -> None:
    rows = (
        scan("p", "t1", "a"),
        scan("q", "t1", "b"),
        scan("p", "flair", "c", label=Path("l"), target_class="HGG"),
    )
    first, second = Manifest(rows).validate().studies()
    assert [member.modality for member in first.scans] == ["flair", "t1"]
    assert (first.id, first.label, first.target_class) == ("d_p", Path("l"), "HGG")
    assert (second.id, second.label, second.target_class) == ("d_q", None, None)


def test_a_given_split_holds_for_all_visits_of_the_patient_and_beats_the_hash() -> None:
    hashed = split_of("d", "p")
    given = "test" if hashed != "test" else "train"
    rows = (
        Scan("p", "1", "d", "t1", Path("a")),
        Scan("p", "2", "d", "t1", Path("b"), split=given),
        Scan("q", "1", "d", "t1", Path("c")),
    )
    studies = Manifest(rows).studies()
    assert [study.split for study in studies] == [given, given, split_of("d", "q")]


def test_ids_that_differ_in_case_only_do_not_share_a_folder() -> None:
    studies = Manifest((scan("P", "t1", "a"), scan("p", "t1", "b"))).studies()
    assert len({study.id.casefold() for study in studies}) == 2


def test_paths_are_relative_only_below_a_shared_root() -> None:
    assert portable_path(Path("/data/a/x.nii"), Path("/data/cache")) == "../a/x.nii"
    assert portable_path(Path("/data/a/x.nii"), Path("/home/me")) == "/data/a/x.nii"
