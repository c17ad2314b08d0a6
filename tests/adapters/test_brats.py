from collections import Counter
from pathlib import Path

import pytest

from brainmvp_lightning.adapters.brats import RELEASES, BratsAdapter
from brainmvp_lightning.studies.labels import label_schemes
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.tiny_images import save_label, save_scans
from tests.adapters.trees import prepare_shipped, touch

OLD, NEW = ("flair", "t1", "t1ce", "t2"), ("t2f", "t1n", "t1c", "t2w")


def case_2018(case: str, *suffixes: str, ending: str = ".nii.gz") -> list[str]:
    return [f"{case}/{case}_{suffix}{ending}" for suffix in suffixes]


def case_2023(case: str, *suffixes: str, ending: str = ".nii.gz") -> list[str]:
    return [f"{case}/{case}-{suffix}{ending}" for suffix in suffixes]


def read(root: Path | list[str], **options: str) -> tuple[list[Scan], BratsAdapter]:
    adapter = BratsAdapter(root if isinstance(root, list) else str(root), **options)
    scans = adapter.scans(ModalityVocabulary())
    assert Manifest(tuple(scans)).validate().problems == ()
    return scans, adapter


def test_2018_has_its_classes_in_folders(tmp_path: Path) -> None:
    touch(tmp_path / "MICCAI_BraTS_2018_Data_Training/HGG", *case_2018("Brats18_2013_10_1", *OLD))
    touch(
        tmp_path / "MICCAI_BraTS_2018_Data_Training/LGG", *case_2018("Brats18_TCIA09_177_1", "t1")
    )
    touch(tmp_path / "Validation", *case_2018("Brats18_CBICA_AAM_1", "t1"))
    scans, adapter = read(tmp_path)
    classes = {scan.patient: scan.target_class for scan in scans}
    assert classes == {
        "Brats18_2013_10_1": "HGG",
        "Brats18_TCIA09_177_1": "LGG",
        "Brats18_CBICA_AAM_1": None,
    }
    assert [scan.modality for scan in scans[:4]] == ["flair", "t1", "t1ce", "t2"]
    assert {(scan.dataset, scan.session) for scan in scans} == {("brats2018", "")}
    assert adapter.problems == []


def test_a_class_table_comes_before_the_folders(tmp_path: Path) -> None:
    touch(
        tmp_path / "HGG", *case_2018("BraTS19_CBICA_ABT_1", "t1"), *case_2018("BraTS19_X_2_1", "t1")
    )
    names = tmp_path / "name_mapping.csv"
    names.write_text(
        "Grade,BraTS_2018_subject_ID,BraTS_2019_subject_ID\n"
        "LGG,Brats18_CBICA_ABT_1,BraTS19_CBICA_ABT_1\n"
    )
    scans, adapter = read(tmp_path, class_table=str(names), class_column="Grade")
    assert [scan.target_class for scan in scans] == ["LGG", "HGG"]
    (note,) = adapter.problems
    assert note.is_handled
    assert "1 of 2 cases have no 'Grade'" in note.reason
    with pytest.raises(ValueError, match="did you mean 'Grade'"):
        read(tmp_path, class_table=str(names), class_column="Grad")
    with pytest.raises(ValueError, match="say by 'class_column'"):
        read(tmp_path, class_table=str(names))


def test_2020_and_the_label_with_a_foreign_name(tmp_path: Path) -> None:
    case = "BraTS20_Training_355"
    touch(tmp_path, *case_2018(case, *OLD, ending=".nii"), f"{case}/W39_1998.09.19_Segm.nii")
    scans, adapter = read(tmp_path)
    assert {scan.label for scan in scans} == {tmp_path / case / "W39_1998.09.19_Segm.nii"}
    assert [problem.is_handled for problem in adapter.problems] == [True]
    touch(tmp_path, *case_2018(case, "seg", ending=".nii"))
    scans, adapter = read(tmp_path)
    assert {scan.label for scan in scans} == {tmp_path / case / f"{case}_seg.nii"}
    assert [problem.is_handled for problem in adapter.problems] == [False]


def test_2021_with_and_without_labels_from_two_roots(tmp_path: Path) -> None:
    touch(tmp_path / "train", *case_2018("BraTS2021_00000", *OLD, "seg"))
    touch(tmp_path / "valid", *case_2018("BraTS2021_00001", *OLD))
    scans, adapter = read([str(tmp_path / "train"), str(tmp_path / "valid")])
    assert Counter((scan.patient, scan.label_scheme) for scan in scans) == {
        ("BraTS2021_00000", "brats2021"): 4,
        ("BraTS2021_00001", None): 4,
    }
    assert adapter.problems == []


@pytest.mark.parametrize("family", ["GLI", "SSA", "MEN", "PED", "MET"])
def test_families_of_2023_have_time_points(tmp_path: Path, family: str) -> None:
    for case in (f"BraTS-{family}-00005-000", f"BraTS-{family}-00005-001"):
        touch(tmp_path / "TrainingData/Additional", *case_2023(case, *NEW, "seg"))
    scans, adapter = read(tmp_path)
    assert Counter((scan.patient, scan.session) for scan in scans) == {
        (f"BraTS-{family}-00005", "000"): 4,
        (f"BraTS-{family}-00005", "001"): 4,
    }
    assert [scan.modality for scan in scans[:4]] == ["t1ce", "t1", "flair", "t2"]  # by path
    assert {scan.dataset for scan in scans} == {f"brats2023_{family.lower()}"}
    assert {scan.label_scheme for scan in scans} == {"brats2023"}
    assert adapter.problems == []


def test_every_release_has_a_known_label_scheme_and_an_example_of_its_own() -> None:
    for name, release in RELEASES.items():
        assert release.label_scheme in label_schemes()
        matches = [other for other in RELEASES if RELEASES[other].match_case(release.example)]
        assert matches == [name]


def test_wrapped_images_and_a_scheme_of_another_year(tmp_path: Path) -> None:
    case = "BraTS-PED-00001-000"
    touch(
        tmp_path, f"{case}/{case}-t1c.nii/00000057_brain_t1ce.nii", f"{case}/{case}-seg.nii/9.nii"
    )
    (scan,), adapter = read(tmp_path, label_scheme="brats2024_ped", dataset="brats2024_ped")
    assert (scan.modality, scan.label_scheme, scan.dataset) == (
        "t1ce",
        "brats2024_ped",
        "brats2024_ped",
    )
    assert scan.label == tmp_path / case / f"{case}-seg.nii/9.nii"
    assert adapter.problems == []


def test_what_is_not_understood_is_set_aside_with_a_sentence(tmp_path: Path) -> None:
    case = "BraTS2021_00000"
    touch(tmp_path, *case_2018(case, "t1", "seg", "pet"), f"{case}/notes.nii.gz")
    touch(tmp_path / "copy", *case_2018(case, "t1", "seg"))
    _, adapter = read(tmp_path)
    found = {Path(problem.file).name: problem.reason for problem in adapter.problems}
    assert "unknown modality 'pet'" in found[f"{case}_pet.nii.gz"]
    assert "not that of a case" in found["notes.nii.gz"]
    assert "another t1, which is used" in found[f"{case}_t1.nii.gz"]
    assert "another label, which is used" in found[f"{case}_seg.nii.gz"]
    assert len(adapter.problems) == 4


def test_mixed_and_wrong_releases_are_refused_with_what_was_found(tmp_path: Path) -> None:
    touch(tmp_path, *case_2023("BraTS-MEN-00001-000", "t1n"))
    with pytest.raises(
        ValueError, match=r"no case of brats2021, but of brats2023_men \(files: 1\)"
    ):
        read(tmp_path, release="brats2021")
    touch(tmp_path, *case_2023("BraTS-MET-00001-000", "t1n"))
    with pytest.raises(ValueError, match=r"several releases: .*; choose one by 'release'"):
        read(tmp_path)
    (scan,), adapter = read(tmp_path, release="brats2023_met")
    assert scan.patient == "BraTS-MET-00001"
    assert "belongs to brats2023_men" in adapter.problems[0].reason
    with pytest.raises(ValueError, match="did you mean 'brats2023_met'"):
        BratsAdapter(str(tmp_path), release="brats2023_mets")
    touch(tmp_path / "ixi", "IXI002-Guys-0828-T1.nii.gz")
    with pytest.raises(ValueError, match=r"no case of BraTS \(found: IXI002-Guys-0828-T1;"):
        read(tmp_path / "ixi")


@pytest.mark.parametrize(
    ("config", "folder", "case", "values"),
    [
        ("brats2018", "HGG", "Brats18_2013_10_1_{}", (1, 2, 4)),
        ("brats2023_gli", "TrainingData", "BraTS-GLI-00001-000-{}", (1, 2, 3)),
        ("brats2023_ssa", "TrainingData", "BraTS-SSA-00001-000-{}", (1, 2, 3)),
        ("brats2023_men", "TrainingData", "BraTS-MEN-00001-000-{}", (1, 2, 3)),
        ("brats2023_ped", "TrainingData", "BraTS-PED-00001-000-{}", (1, 2, 3)),
        ("brats2023_met", "TrainingData", "BraTS-MET-00001-000-{}", (1, 2, 3)),
    ],
)
def test_shipped_configurations_prepare(
    tmp_path: Path, config: str, folder: str, case: str, values: tuple[int, ...]
) -> None:
    where = tmp_path / "data" / folder / case[:-3]
    suffixes = OLD if config == "brats2018" else NEW
    save_scans(where, *(f"{case.format(suffix)}.nii.gz" for suffix in suffixes))
    save_label(where / f"{case.format('seg')}.nii.gz", *values)
    cache = prepare_shipped(config, tmp_path, {"source.root": str(tmp_path / "data")})
    (study,) = cache.studies
    assert [scan.modality for scan in study.scans] == ["flair", "t1", "t1ce", "t2"]
    assert study.label_scheme == ("brats2021" if config == "brats2018" else "brats2023")
    assert study.label_values == values
    assert study.target_class == ("HGG" if config == "brats2018" else None)
    assert study.label is not None


def test_a_list_of_roots_reaches_the_adapter(tmp_path: Path) -> None:
    for name in ("a", "b"):
        case = f"BraTS2021_0000{name == 'b':d}"
        save_scans(tmp_path / name / case, f"{case}_t1.nii.gz")
    roots = f"[{tmp_path / 'a'}, {tmp_path / 'b'}]"
    cache = prepare_shipped("brats2021", tmp_path, {"source.root": roots})
    assert {study.patient for study in cache.studies} == {"BraTS2021_00000", "BraTS2021_00001"}
