"""ADHD-200 and ABIDE: images and rows find each other, and what does not is told."""

from pathlib import Path

import pytest

from brainmvp_lightning.adapters.numbered_people import AbideAdapter, Adhd200Adapter
from brainmvp_lightning.adapters.phenotype_table import PhenotypeTable
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan
from tests.adapters.trees import prepare_shipped, touch
from tests.volumes.images import head, save, scaled

ADHD_HEADER = "ScanDir ID,Site,DX,QC_Anatomical_1\n"
ABIDE_HEADER = "SITE_ID,SUB_ID,DX_GROUP\n"


def read_adhd(root: Path, **options: object) -> tuple[list[Scan], list[Problem]]:
    adapter = Adhd200Adapter(str(root), **options)  # type: ignore[arg-type]
    return adapter.scans(ModalityVocabulary()), adapter.problems


def read_abide(root: Path, **options: object) -> tuple[list[Scan], list[Problem]]:
    adapter = AbideAdapter(str(root), **options)  # type: ignore[arg-type]
    return adapter.scans(ModalityVocabulary()), adapter.problems


def adhd_tree(root: Path) -> None:
    touch(
        root,
        "KKI/1018959/session_1/anat_1/mprage.nii.gz",
        "KKI/1018959/session_1/anat_2/mprage.nii.gz",
        "KKI/1018959/session_1/rest_1/rest.nii.gz",
        "NYU/0010001/session_1/anat_1/mprage.nii.gz",
        "NYU/0010002/session_1/anat_1/mprage.nii.gz",
        "Brown/0026001/session_1/anat_1/mprage.nii.gz",
        "OHSU/0000000_x/anat_1/readme.txt",
    )
    (root / "KKI/KKI_phenotypic.csv").write_text(ADHD_HEADER + "1018959,3,0,1\n1018960,3,1,1\n")
    (root / "NYU/NYU_phenotypic.csv").write_text(ADHD_HEADER + "10001,5,3.0,1\n10002,5,1,0\n")
    (root / "Brown_phenotypic.csv").write_text(ADHD_HEADER + "26001,2,withheld,1\n")


def test_adhd_numbers_match_with_and_without_leading_zeros(tmp_path: Path) -> None:
    adhd_tree(tmp_path)
    scans, problems = read_adhd(tmp_path)
    studies = Manifest(tuple(scans)).validate().studies()
    assert {study.id: study.target_class for study in studies} == {
        "adhd200_1018959_1": "NC",
        "adhd200_0010001_1": "ADHD",
        "adhd200_0010002_1": "ADHD",
    }
    told = {(Path(p.file).parent.name, p.reason, p.is_handled) for p in problems}
    assert told == {
        ("anat_2", "the study has another T1, which is used: mprage.nii.gz", False),
        ("anat_1", "its diagnosis 'withheld' is not among 'groups'", False),
        (
            "KKI",
            "it lists 1018960 (ADHD), of which there is no image (1 of 4 have none)",
            True,
        ),
    }


def test_a_folder_that_ends_like_a_session_is_none(tmp_path: Path) -> None:
    names = [f"diseases-x/0010001/session_{number}/anat_1/mprage.nii.gz" for number in (1, 2)]
    touch(tmp_path, *names)
    (tmp_path / "NYU_phenotypic.csv").write_text(ADHD_HEADER + "10001,5,0,1\n")
    scans, problems = read_adhd(tmp_path)
    assert [scan.session for scan in scans] == ["1", "2"]
    assert problems == []


def test_a_later_table_tells_a_withheld_diagnosis(tmp_path: Path) -> None:
    adhd_tree(tmp_path)
    (tmp_path / "allSubs_testSet_phenotypic_dx.csv").write_text("Number,DX\n")
    with pytest.raises(ValueError, match="has no column 'ScanDir ID'"):
        read_adhd(tmp_path)
    (tmp_path / "allSubs_testSet_phenotypic_dx.csv").write_text("ID;DX\n0026001;2\n")
    scans, _ = read_adhd(tmp_path)
    assert {scan.patient: scan.target_class for scan in scans}["0026001"] == "ADHD"


def test_scans_that_failed_quality_control_can_be_left_out(tmp_path: Path) -> None:
    adhd_tree(tmp_path)
    scans, problems = read_adhd(tmp_path, failed_qc={"QC_Anatomical_1": ["0"]})
    assert "0010002" not in {scan.patient for scan in scans}
    assert "it failed QC_Anatomical_1" in {problem.reason for problem in problems}
    with pytest.raises(ValueError, match="no column 'QC_Anat_1'; did you mean 'QC_Anatomical_1'"):
        read_adhd(tmp_path, failed_qc={"QC_Anat_1": ["0"]})


def test_athena_names_and_a_tsv(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Peking_1/1056121/wssd1056121_session_1_anat.nii.gz",
        "Peking_1/1056121/wssd1056121_session_1_anat_gm.nii.gz",
        "Peking_1/1056121/wssd1056121_session_1_anat_wm.nii.gz",
    )
    table = tmp_path / "adhd200_preprocessed_phenotypics.tsv"
    table.write_text("ScanDir ID\tSite\tDX\n1056121\t1\t1\n")
    scans, problems = read_adhd(tmp_path)
    assert [(scan.patient, scan.session, scan.target_class) for scan in scans] == [
        ("1056121", "1", "ADHD")
    ]
    assert problems == []


def test_an_image_without_a_row_is_named_and_counted(tmp_path: Path) -> None:
    adhd_tree(tmp_path)
    touch(tmp_path, "NYU/0019999/session_1/anat_1/mprage.nii.gz")
    scans, problems = read_adhd(tmp_path)
    assert "0019999" not in {scan.patient for scan in scans}
    strangers = [problem for problem in problems if "no row" in problem.reason]
    assert [(p.study, p.reason) for p in strangers] == [
        ("adhd200_0019999_1", "no row describes it (1 of 6 images have none)")
    ]
    scans, problems = read_adhd(tmp_path, keep_unlabelled=True)
    classes = {scan.patient: scan.target_class for scan in scans}
    assert classes["0019999"] is None
    assert classes["0026001"] is None
    assert not [problem for problem in problems if "no row" in problem.reason]


def test_rows_that_disagree_are_no_class(tmp_path: Path) -> None:
    adhd_tree(tmp_path)
    (tmp_path / "other_phenotypic.csv").write_text(ADHD_HEADER + "10001,5,0,1\n")
    scans, problems = read_adhd(tmp_path)
    assert "0010001" not in {scan.patient for scan in scans}
    assert "its rows disagree on the diagnosis ('0', '3.0')" in {p.reason for p in problems}


@pytest.mark.parametrize(
    ("name", "session"),
    [
        ("Caltech/0051456/session_1/anat_1/mprage.nii.gz", "1"),
        ("Caltech_0051456/Caltech_0051456/scans/anat/resources/NIfTI/files/mprage.nii.gz", ""),
        ("Caltech/sub-0051456/anat/sub-0051456_T1w.nii.gz", ""),
        ("Outputs/Caltech_0051456.nii.gz", ""),
    ],
)
def test_abide_trees(tmp_path: Path, name: str, session: str) -> None:
    touch(tmp_path, name, "Caltech/0051457/session_1/rest_1/rest.nii.gz")
    table = ABIDE_HEADER + "CALTECH,51456,1\nCALTECH,51457,2\n"
    (tmp_path / "Phenotypic_V1_0b.csv").write_text(table)
    scans, problems = read_abide(tmp_path)
    assert [(scan.patient, scan.session, scan.target_class) for scan in scans] == [
        ("0051456", session, "ASD")
    ]
    assert [problem.reason for problem in problems] == [
        "it lists 0051457 (NC), of which there is no image (1 of 2 have none)"
    ]


def test_the_preprocessed_table_has_the_raters(tmp_path: Path) -> None:
    for number in (50003, 50004):
        touch(tmp_path, f"Pitt/00{number}/session_1/anat_1/mprage.nii.gz")
    (tmp_path / "Phenotypic_V1_0b.csv").write_text(ABIDE_HEADER + "PITT,50003,1\nPITT,50004,2\n")
    (tmp_path / "Phenotypic_V1_0b_preprocessed1.csv").write_text(
        "X,SUB_ID,FILE_ID,DX_GROUP,qc_anat_rater_2\n1,50003,Pitt_0050003,1,OK\n"
        "2,50004,Pitt_0050004,2,fail\n"
    )
    scans, problems = read_abide(tmp_path, failed_qc={"qc_anat_rater_2": ["Fail"]})
    assert [scan.target_class for scan in scans] == ["ASD"]
    assert [problem.reason for problem in problems] == ["it failed qc_anat_rater_2"]


def test_wrong_places_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_abide(tmp_path / "nowhere")
    touch(tmp_path, "Pitt/0050003/session_1/rest_1/rest.nii.gz")
    with pytest.raises(FileNotFoundError, match=r"no table matches .*Phenotypic_V1_0b"):
        read_abide(tmp_path)
    (tmp_path / "Phenotypic_V1_0b.csv").write_text(ABIDE_HEADER)
    with pytest.raises(FileNotFoundError, match=r"of the 1 images below .* none counts as a T1"):
        read_abide(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no table"):
        read_abide(tmp_path, phenotypes="other.csv")


def test_tables_of_spreadsheets_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffSub ID;Größe\r\n7;  a \r\n\r\n".encode())
    table = PhenotypeTable.read(path)
    assert (table.columns, table.rows) == (("Sub ID", "Größe"), ({"Sub ID": "7", "Größe": "a"},))
    assert table.find_column("no", "SUB_ID") == "Sub ID"
    path.write_bytes("Name,Größe\n7,1\n".encode("cp1252"))
    assert PhenotypeTable.read(path).columns == ("Name", "Größe")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty; its first line must name the columns"):
        PhenotypeTable.read(path)


@pytest.mark.parametrize("name", ["adhd200", "abide"])
def test_the_shipped_configurations_prepare_a_tree(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    save(data / "NYU/0051001/session_1/anat_1/mprage.nii.gz", head(), scaled())
    (data / "Phenotypic_V1_0b.csv").write_text(ABIDE_HEADER + "NYU,51001,2\n")
    (data / "NYU_phenotypic.csv").write_text(ADHD_HEADER + "51001,5,2,1\n")
    cache = prepare_shipped(name, tmp_path, {"source.root": str(data)})
    assert [(study.id, study.target_class) for study in cache.studies] == [
        (f"{name}_0051001_1", {"adhd200": "ADHD", "abide": "NC"}[name])
    ]
