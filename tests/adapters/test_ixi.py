from pathlib import Path

import pytest

from brainmvp_lightning.adapters.ixi import IxiAdapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.trees import prepare_shipped, touch
from tests.volumes.images import head, save, scaled

FILES = (
    "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
    "IXI-T2/IXI002-Guys-0828-T2.nii.gz",
    "IXI-PD/IXI002-Guys-0828-PD.nii.gz",
    "IXI-MRA/IXI002-Guys-0828-MRA.nii.gz",
    "IXI-DTI/IXI002-Guys-0828-DTI-00.nii.gz",
    "IXI-DTI/IXI002-Guys-0828-DTI-01.nii.gz",
    "IXI-T1/IXI012-HH-1211-T1.nii.gz",
    "IXI-T1/IXI035-IOP-0873-T1.nii.gz",
    "IXI-T2/IXI035-IOP-0873-T2.nii.gz",
)


def read(root: Path, **options: object) -> tuple[list[Scan], IxiAdapter]:
    adapter = IxiAdapter(str(root), **options)  # type: ignore[arg-type]
    return adapter.scans(ModalityVocabulary()), adapter


def test_four_folders_become_studies_and_diffusion_is_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    scans, adapter = read(tmp_path)
    studies = Manifest(tuple(scans)).validate().studies()
    found = {study.id: [scan.modality for scan in study.scans] for study in studies}
    assert found == {
        "ixi_IXI002_Guys": ["t1", "t2", "mra", "pd"],
        "ixi_IXI012_HH": ["t1"],
        "ixi_IXI035_IOP": ["t1", "t2"],
    }
    assert adapter.problems == []


@pytest.mark.parametrize(
    ("site", "study"), [("dataset", "ixi-Guys_IXI002"), ("drop", "ixi_IXI002")]
)
def test_the_hospital_can_be_a_data_set_or_nothing(tmp_path: Path, site: str, study: str) -> None:
    touch(tmp_path, *FILES)
    scans, _ = read(tmp_path, site=site)
    assert Manifest(tuple(scans)).studies()[0].id == study


@pytest.mark.parametrize(
    ("site", "sessions"),
    [("session", ["Guys-0828", "Guys-0999"]), ("drop", ["0828", "0999"])],
)
def test_two_visits_of_a_person_are_two_studies(
    tmp_path: Path, site: str, sessions: list[str]
) -> None:
    touch(tmp_path, "IXI002-Guys-0828-T1.nii.gz", "IXI002-Guys-0999-T2.nii.gz")
    touch(tmp_path, "IXI012-HH-1211-T1.nii.gz")
    scans, _ = read(tmp_path, site=site)
    assert [scan.session for scan in scans if scan.patient == "IXI002"] == sessions
    assert scans[-1].session == {"session": "HH", "drop": ""}[site]


def test_all_files_in_one_folder_and_other_names_are_told(tmp_path: Path) -> None:
    touch(tmp_path, *(Path(name).name for name in FILES), "IXI002-T1.nii.gz", "readme.txt")
    touch(tmp_path, "IXI035-IOP-0873-SWI.nii.gz")
    scans, adapter = read(tmp_path)
    assert len(scans) == 7
    reasons = {Path(problem.file).name: problem.reason for problem in adapter.problems}
    assert reasons.keys() == {"IXI002-T1.nii.gz", "IXI035-IOP-0873-SWI.nii.gz"}
    assert reasons["IXI002-T1.nii.gz"].startswith("its name is not IXI<number>-<hospital>")
    assert reasons["IXI035-IOP-0873-SWI.nii.gz"] == "its contrast 'SWI' is none of T1, T2, PD, MRA"


def test_incomplete_people_can_be_set_aside_scan_by_scan(tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    scans, adapter = read(tmp_path, complete_only=True)
    assert {scan.patient for scan in scans} == {"IXI002"}
    assert [(problem.study, problem.reason[:29]) for problem in adapter.problems] == [
        ("ixi_IXI012_HH", "the person has no t2 and no p"),
        ("ixi_IXI035_IOP", "the person has no pd and no m"),
        ("ixi_IXI035_IOP", "the person has no pd and no m"),
    ]


def test_classes_come_from_the_demographics(tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    table = tmp_path / "IXI.csv"
    table.write_text('IXI_ID,"SEX_ID (1=m, 2=f)",AGE\n2,2,35\n12,1,38\n35,1,40\n35,2,40\n99,1,1\n')
    scans, adapter = read(tmp_path, demographics=str(table), class_column="SEX_ID (1=m, 2=f)")
    classes = {scan.patient: scan.target_class for scan in scans}
    assert classes == {"IXI002": "2", "IXI012": "1", "IXI035": None}
    assert [problem.reason for problem in adapter.problems] == ["IXI035 has several classes (1, 2)"]
    with pytest.raises(ValueError, match=r"no column 'SEX'; did you mean 'SEX_ID"):
        read(tmp_path, demographics=str(table), class_column="SEX")
    with pytest.raises(ValueError, match="is a spreadsheet; save it as CSV"):
        read(tmp_path, demographics=str(tmp_path / "IXI.xls"), class_column="AGE")


def test_a_wrong_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")
    touch(tmp_path, "sub-01_T1w.nii.gz")
    with pytest.raises(FileNotFoundError, match="has no images called IXI<number>"):
        read(tmp_path)


def test_the_shipped_configuration_prepares_a_tree(tmp_path: Path) -> None:
    for name in FILES[:4]:
        save(tmp_path / "data" / name, head(), scaled())
    cache = prepare_shipped("ixi", tmp_path, {"source.root": str(tmp_path / "data")})
    assert [(study.id, study.modalities) for study in cache.studies] == [
        ("ixi_IXI002_Guys", ("t1", "t2", "mra", "pd"))
    ]
