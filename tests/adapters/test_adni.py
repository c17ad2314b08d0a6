"""ADNI: a row is found by image, visit, date or person."""

from pathlib import Path

import pytest

from brainmvp_lightning.adapters.adni import AdniAdapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan
from tests.adapters.trees import prepare_shipped, touch
from tests.volumes.images import head, save, scaled

DOWNLOAD = (
    "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format\n"
    "I118671,002_S_0295,CN,M,84,sc,MRI,MPR; GradWarp,Processed,4/18/2006,NiFTI\n"
    "I40966,002_S_0413,LMCI,F,76,m06,MRI,MPR; GradWarp,Processed,11/15/2006,NiFTI\n"
    "I45117,002_S_0619,AD,M,77,bl,MRI,MPR; GradWarp,Processed,6/1/2006,NiFTI\n"
    "I99999,002_S_0729,MCI,F,65,bl,MRI,MPR; GradWarp,Processed,7/1/2006,NiFTI\n"
)


def image(person: str, date: str, number: int, series: str = "MPR__GradWarp") -> str:
    name = f"ADNI_{person}_MR_{series}_Br_20080717160408_S13408_I{number}.nii"
    return f"ADNI/{person}/{series}/{date}_08_20_30.0/I{number}/{name}"


def read(root: Path, **options: object) -> tuple[list[Scan], list[Problem]]:
    adapter = AdniAdapter(str(root), **options)  # type: ignore[arg-type]
    return adapter.scans(ModalityVocabulary()), adapter.problems


def facts(scans: list[Scan]) -> list[tuple[str, str, str | None]]:
    return [(scan.patient, scan.session, scan.target_class) for scan in scans]


def test_the_table_of_a_download(tmp_path: Path) -> None:
    touch(
        tmp_path,
        image("002_S_0295", "2006-04-18", 118671),
        image("002_S_0295", "2006-04-18", 118672, "MPR-R__GradWarp"),
        image("002_S_0413", "2006-11-15", 40966),
        image("002_S_0619", "2006-06-01", 45117),
        image("941_S_4036", "2011-05-05", 5),
        "ADNI/other/x.nii",
    )
    (tmp_path / "ADNI1_Screening.csv").write_text(DOWNLOAD)
    scans, problems = read(tmp_path)
    assert facts(scans) == [
        ("002_S_0295", "2006-04-18", "NC"),
        ("002_S_0413", "2006-11-15", "MCI"),
    ]
    assert [study.id for study in Manifest(tuple(scans)).validate().studies()] == [
        "adni_002_S_0295_2006-04-18",
        "adni_002_S_0413_2006-11-15",
    ]
    assert scans[0].path.name.endswith("I118671.nii")
    reasons = [problem.reason for problem in problems]
    assert reasons == [
        "no part of its path is a PTID such as 002_S_0295",
        "it lists image I99999 of 002_S_0729 (MCI), of which there is no image (1 of 3 have none)",
        "its diagnosis 'AD' is not among 'groups'",
        f"the study has another T1, which is used: {scans[0].path.name}",
        "no row describes it (1 of 5 images have none)",
    ]


def test_other_groups_can_be_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, image("002_S_0619", "2006-06-01", 45117))
    (tmp_path / "table.csv").write_text(DOWNLOAD)
    scans, _ = read(tmp_path, groups={"AD": "AD", "CN": "NC"})
    assert facts(scans) == [("002_S_0619", "2006-06-01", "AD")]


def test_adnimerge_is_matched_by_visit_and_by_date(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-ADNI002S0295/ses-M00/anat/sub-ADNI002S0295_ses-M00_T1w.nii.gz",
        "sub-ADNI002S0295/ses-M06/anat/sub-ADNI002S0295_ses-M06_T1w.nii.gz",
        "sub-ADNI002S0295/ses-M06/anat/sub-ADNI002S0295_ses-M06_FLAIR.nii.gz",
        image("002_S_0413", "2006-11-15", 1),
        "flat/ADNI_002_S_0619_I7.nii",
        "flat/ADNI_002_S_0729_I8.nii",
    )
    (tmp_path / "ADNIMERGE.csv").write_text(
        "RID,PTID,VISCODE,EXAMDATE,DX_bl,DX,IMAGEUID\n"
        "295,002_S_0295,bl,2006-04-20,CN,CN,\n"
        "295,002_S_0295,m06,2006-11-02,CN,MCI,\n"
        "413,002_S_0413,bl,2006-05-02,CN,CN,\n"
        "413,002_S_0413,m06,2006-11-15,CN,MCI,\n"
        "619,002_S_0619,bl,2006-05-02,LMCI,MCI,\n"
        "619,002_S_0619,m06,2006-11-02,LMCI,,\n"
        "729,002_S_0729,bl,2006-05-02,LMCI,MCI,\n"
        "729,002_S_0729,m06,2006-11-02,LMCI,Dementia,\n"
        "800,002_S_0800,bl,2006-05-02,CN,CN,\n"
    )
    scans, problems = read(tmp_path, phenotypes="ADNIMERGE.csv")
    assert sorted(facts(scans)) == [
        ("002_S_0295", "M00", "NC"),
        ("002_S_0295", "M06", "MCI"),
        ("002_S_0413", "2006-11-15", "MCI"),
        ("002_S_0619", "I7", "MCI"),
    ]
    assert [problem.reason for problem in problems] == [
        "it lists 002_S_0800 (NC), of which there is no image (1 of 5 have none)",
        "its rows disagree on the diagnosis ('Dementia', 'MCI')",
    ]
    scans, _ = read(tmp_path, phenotypes="ADNIMERGE.csv", group_column="DX_bl")
    assert ("002_S_0729", "I8", "MCI") in facts(scans)


@pytest.mark.parametrize(
    ("visit", "session", "group"),
    [
        ("ADNI1/GO Month 6", "M06", "MCI"),
        ("ADNI2 Month 6-New Pt", "M006", "MCI"),
        ("ADNI2 Month 3 MRI-New Pt", "M03", "MCI"),
        ("ADNIGO Month 3 MRI", "M003", "MCI"),
        ("ADNI2 Screening MRI-New Pt", "M00", "MCI"),
        # Months of a later phase are not months since the first visit.
        ("ADNI2 Month 6-Cont Pt", "M06", None),
    ],
)
def test_visits_are_told_by_their_months(
    tmp_path: Path, visit: str, session: str, group: str | None
) -> None:
    touch(tmp_path, f"diseases-x/sub-002S0295/ses-{session}/anat/sub-002S0295_T1w.nii.gz")
    header = "Image Data ID,Subject,Group,Visit\n"
    row = f"I1,002_S_0295,MCI,{visit}\nI2,002_S_0295,CN,ADNI1/GO Month 36\n"
    (tmp_path / "table.csv").write_text(header + row)
    scans, _ = read(tmp_path, keep_unlabelled=True)
    assert facts(scans) == [("002_S_0295", session, group)]


def test_a_pattern_chooses_the_series(tmp_path: Path) -> None:
    touch(
        tmp_path,
        image("002_S_0295", "2006-04-18", 1, "MPR____N3"),
        image("002_S_0295", "2006-04-18", 118671, "Accelerated"),
    )
    (tmp_path / "table.csv").write_text(DOWNLOAD)
    scans, _ = read(tmp_path, images="*/MPR*/*")
    assert [scan.path.parent.name for scan in scans] == ["I1"]
    with pytest.raises(FileNotFoundError, match=r"of the 2 images below .* none counts"):
        read(tmp_path, images="*/SPGR/*")
    with pytest.raises(ValueError, match=r"no column 'DX' \(found: Image Data ID"):
        read(tmp_path, group_column="DX")


def test_the_shipped_configuration_prepares_a_tree(tmp_path: Path) -> None:
    data = tmp_path / "data"
    save(data / image("002_S_0413", "2006-11-15", 40966), head(), scaled())
    (data / "table.csv").write_text(DOWNLOAD)
    cache = prepare_shipped("adni", tmp_path, {"source.root": str(data)})
    assert [(study.id, study.target_class) for study in cache.studies] == [
        ("adni_002_S_0413_2006-11-15", "MCI")
    ]
