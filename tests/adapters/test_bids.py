from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.adapters.bids import BidsAdapter
from brainmvp_lightning.adapters.bids_names import parse_modality, parse_name
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.volumes.images import head, save, scaled


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def read(root: Path, **options: object) -> tuple[list[Scan], BidsAdapter]:
    adapter = BidsAdapter(str(root), **options)  # type: ignore[arg-type]
    return adapter.scans(ModalityVocabulary({"swi": []})), adapter


def facts(scans: list[Scan]) -> list[tuple[str, str, str]]:
    return [(scan.patient, scan.session, scan.modality) for scan in scans]


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("sub-1_T1w.nii.gz", "t1"),
        ("sub-1_ce-gadolinium_T1w.nii.gz", "t1ce"),
        ("sub-1_ce-none_T1w.nii", "t1"),
        ("sub-1_acq-mprage_run-01_T1w.nii.gz", "t1"),
        ("sub-1_T2w.nii.gz", "t2"),
        ("sub-1_FLAIR.nii.gz", "flair"),
        ("sub-1_PDw.nii.gz", "pd"),
        ("sub-1_PD.nii.gz", "pd"),
        ("sub-1_angio.nii.gz", "mra"),
        ("sub-1_acq-tof_angio.nii.gz", "mra"),
        ("sub-1_dwi.nii.gz", "dwi"),
        ("sub-1_trace.nii.gz", "dwi"),
        ("sub-1_ADC.nii.gz", "adc"),
        ("sub-1_acq-ADC_dwi.nii.gz", "adc"),
        ("sub-1_desc-adc_dwi.nii.gz", "adc"),
        ("sub-strokecase0001_ses-0001_adc.nii.gz", "adc"),
        ("sub-adc1_ses-adc_dwi.nii.gz", "dwi"),
    ],
)
def test_names_say_the_modality(name: str, modality: str) -> None:
    assert parse_modality(parse_name(Path(name)), ModalityVocabulary()) == modality


def test_sessions_sidecars_and_other_folders(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii.gz",
        "sub-02/ses-a/dwi/sub-02_ses-a_dwi.nii.gz",
        "sub-02/ses-a/dwi/sub-02_ses-a_dwi.bval",
        "sub-02/ses-a/dwi/sub-02_ses-a_sbref.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_FLAIR.nii",
        "sub-02/ses-b/func/sub-02_ses-b_bold.nii.gz",
        "sub-02/ses-b/anat/._sub-02_ses-b_T1w.nii.gz",
        "participants.tsv",
    )
    scans, adapter = read(tmp_path)
    assert facts(scans) == [
        ("01", "", "t1"),
        ("02", "a", "flair"),
        ("02", "a", "dwi"),
        ("02", "b", "flair"),
    ]
    assert {scan.dataset for scan in scans} == {tmp_path.name}
    assert adapter.problems == []


def test_unknown_contrasts_and_phase_images_are_set_aside(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1map.nii.gz",
        "sub-01/swi/sub-01_part-phase_swi.nii.gz",
        "sub-01/swi/sub-01_part-mag_swi.nii.gz",
    )
    scans, adapter = read(tmp_path)
    assert facts(scans) == [("01", "", "t1"), ("01", "", "swi")]
    reasons = {Path(problem.file).name: problem.reason for problem in adapter.problems}
    assert reasons["sub-01_T1map.nii.gz"].startswith("unknown modality 'T1map'")
    assert reasons["sub-01_part-phase_swi.nii.gz"] == "it is not a magnitude image"
    assert adapter.problems[0].study == f"{tmp_path.name}_01"


def test_of_several_runs_the_finest_then_the_latest_counts(tmp_path: Path) -> None:
    anat = tmp_path / "sub-01/anat"
    save(anat / "sub-01_run-1_T1w.nii.gz", head(), scaled(1.0))
    save(anat / "sub-01_run-2_T1w.nii.gz", head(), scaled(1.0))
    save(anat / "sub-01_run-3_T1w.nii.gz", head(), scaled(2.0))
    scans, adapter = read(tmp_path)
    assert [scan.path.name for scan in scans] == ["sub-01_run-2_T1w.nii.gz"]
    aside = {Path(problem.file).name for problem in adapter.problems}
    assert aside == {"sub-01_run-1_T1w.nii.gz", "sub-01_run-3_T1w.nii.gz"}
    assert "better t1, which is used: sub-01_run-2_T1w.nii.gz" in adapter.problems[0].reason


def test_a_trace_comes_before_a_series_of_volumes(tmp_path: Path) -> None:
    dwi = tmp_path / "sub-01/dwi"
    save(dwi / "sub-01_dwi.nii.gz", np.zeros((6, 6, 6, 3), np.int16), scaled(1.0))
    save(dwi / "sub-01_trace.nii.gz", head(), scaled(2.0))
    scans, _ = read(tmp_path)
    assert [scan.path.name for scan in scans] == ["sub-01_trace.nii.gz"]


def test_labels_are_found_by_subject_and_session(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "derivatives/seg/sub-01/ses-1/anat/sub-01_ses-1_desc-lesion_mask.nii.gz",
        "derivatives/seg/sub-01/ses-1/anat/sub-01_ses-1_space-T1w_dseg.nii.gz",
        "derivatives/seg/sub-02/anat/sub-02_desc-brain_mask.nii.gz",
        "derivatives/seg/sub-02/anat/sub-02_label-lesion_mask.nii.gz",
    )
    scans, adapter = read(tmp_path)
    names = [scan.label.name if scan.label else None for scan in scans]
    assert names == [
        "sub-01_ses-1_space-T1w_dseg.nii.gz",
        None,
        "sub-02_label-lesion_mask.nii.gz",
    ]
    assert len(adapter.problems) == 1
    assert "another label, which is used" in adapter.problems[0].reason
    scans, adapter = read(tmp_path, label_pattern="*desc-lesion_mask.nii.gz")
    assert [scan.label is not None for scan in scans] == [True, False, False]
    assert adapter.problems == []
    scans, _ = read(tmp_path, read_labels=False)
    assert all(scan.label is None for scan in scans)


def test_classes_come_from_the_participants(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tclass\tgrade\nsub-01\tHGG\t4\nsub-02\tn/a\t2\n")
    scans, _ = read(tmp_path)
    assert [scan.target_class for scan in scans] == ["HGG", None]
    scans, _ = read(tmp_path, class_column="grade")
    assert [scan.target_class for scan in scans] == ["4", "2"]
    scans, adapter = read(tmp_path, class_column="diagnosis")
    assert [scan.target_class for scan in scans] == [None, None]
    assert "no column 'diagnosis' (found: participant_id, class, grade)" in (
        adapter.problems[0].reason
    )


def test_a_wrong_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; correct 'root'"):
        read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no folders called sub-\*"):
        read(tmp_path)
