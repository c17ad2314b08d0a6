from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.adapters.bids import BidsAdapter
from brainmvp_lightning.adapters.bids_names import parse_modality, parse_name
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.trees import prepare_shipped, touch
from tests.volumes.images import head, save, scaled


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
        ("sub-1_acq-TRACE_dwi.nii.gz", "dwi"),
        ("sub-1_rec-ADC_dwi.nii.gz", "adc"),
        ("sub-1_flair.nii.gz", "flair"),
        ("sub-1_acq-post_T1w.nii.gz", "t1ce"),
        ("sub-1_acq-ceAx_t1w.nii.gz", "t1"),
        ("sub-1_acq-ce_t1w.nii.gz", "t1ce"),
        ("sub-1_acq-ax_ce-none_T1w.nii.gz", "t1"),
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


def series(root: Path, name: str, b_values: str | None, num_volumes: int = 5) -> None:
    save(root / f"{name}.nii.gz", np.zeros((6, 6, 6, num_volumes), np.int16), scaled(1.0))
    if b_values is not None:
        (root / f"{name}.bval").write_text(b_values)


@pytest.mark.parametrize(
    ("b_values", "rule", "volumes"),
    [
        ("0 1000 995 1005 2000", "trace", (1, 2, 3)),
        ("0 1000 995 1005 2000", "b0", (0,)),
        ("0 5 700 2000 3000\n", "trace", (2,)),
        ("0 0 0 100 1500", "trace", (4,)),
        ("0 5 45 100 1500", "b0", (0, 1, 2)),
    ],
)
def test_a_diffusion_series_becomes_its_trace_or_its_b0(
    tmp_path: Path, b_values: str, rule: str, volumes: tuple[int, ...]
) -> None:
    series(tmp_path, "sub-01/dwi/sub-01_dwi", b_values)
    scans, adapter = read(tmp_path, dwi_4d=rule)
    assert [(scan.modality, scan.volumes) for scan in scans] == [("dwi", volumes)]
    assert adapter.problems == []


@pytest.mark.parametrize(
    ("b_values", "rule", "reason"),
    [
        (None, "trace", "it holds 5 volumes and has no .bval file"),
        ("0 0 5 1000 1000", "refuse", "it holds 5 volumes, and 'dwi_4d' is 'refuse'"),
        ("0 0 5 100 200", "trace", "its b-values are 0 to 200, none is at least 500"),
        ("100 700 700 700 700", "b0", "its b-values are 100 to 700, none is at most 50"),
        ("0 1000", "trace", "it holds 5 volumes, but sub-01_dwi.bval has 2 b-values"),
        ("0 a b c d", "trace", "its b-values in sub-01_dwi.bval are not numbers"),
    ],
)
def test_a_series_that_cannot_be_reduced_is_set_aside(
    tmp_path: Path, b_values: str | None, rule: str, reason: str
) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    series(tmp_path, "sub-01/dwi/sub-01_dwi", b_values)
    scans, adapter = read(tmp_path, dwi_4d=rule)
    assert [scan.modality for scan in scans] == ["t1"]
    assert [problem.reason for problem in adapter.problems] == [reason]


def test_b_values_are_inherited_from_folders_above(tmp_path: Path) -> None:
    dwi = "sub-01/ses-1/dwi/sub-01_ses-1_acq-a_dwi"
    series(tmp_path, dwi, None, num_volumes=2)
    (tmp_path / "acq-b_dwi.bval").write_text("0 3000")
    assert read(tmp_path)[0] == []
    (tmp_path / "dwi.bval").write_text("1000 0")
    assert [scan.volumes for scan in read(tmp_path)[0]] == [(0,)]
    (tmp_path / "sub-01" / "sub-01_acq-a_dwi.bval").write_text("0 1000")
    assert [scan.volumes for scan in read(tmp_path)[0]] == [(1,)]


def test_other_diffusion_maps_and_combined_images_are_told(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_PDT2.nii.gz",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/dwi/sub-01_acq-FA_dwi.nii.gz",
        "sub-01/dwi/sub-01_colFA.nii.gz",
    )
    scans, adapter = read(tmp_path)
    assert facts(scans) == [("01", "", "t1")]
    reasons = {Path(problem.file).name: problem.reason for problem in adapter.problems}
    assert (
        reasons["sub-01_PDT2.nii.gz"] == "it holds PD and T2 together, as two volumes of one file"
    )
    assert reasons["sub-01_acq-FA_dwi.nii.gz"].startswith("unknown modality 'fa'")
    assert reasons["sub-01_colFA.nii.gz"].startswith("unknown modality 'colFA'")


def test_brain_masks_of_the_subject_and_of_diffusion(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/dwi/sub-01_ADC.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/dwi/sub-02_ADC.nii.gz",
        "derivatives/fmriprep/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "derivatives/fmriprep/sub-01/anat/sub-01_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
        "derivatives/fmriprep/sub-01/func/sub-01_task-rest_desc-brain_mask.nii.gz",
        "derivatives/qsiprep/sub-01/dwi/sub-01_desc-brain_mask.nii.gz",
        "derivatives/bet/sub-02/anat/sub-02_space-T1w_desc-brain_mask.nii.gz",
        "derivatives/bet/sub-02/anat/sub-02_desc-head_mask.nii.gz",
    )
    scans, adapter = read(tmp_path)
    masks = [scan.brain_mask and scan.brain_mask.relative_to(tmp_path).parts[1:] for scan in scans]
    assert masks == [
        ("fmriprep", "sub-01", "anat", "sub-01_desc-brain_mask.nii.gz"),
        ("qsiprep", "sub-01", "dwi", "sub-01_desc-brain_mask.nii.gz"),
        ("bet", "sub-02", "anat", "sub-02_space-T1w_desc-brain_mask.nii.gz"),
        ("bet", "sub-02", "anat", "sub-02_space-T1w_desc-brain_mask.nii.gz"),
    ]
    assert all(scan.label is None for scan in scans)
    assert adapter.problems == []
    assert all(scan.brain_mask is None for scan in read(tmp_path, read_brain_masks=False)[0])


def test_labels_in_the_space_of_a_template_count_only_if_named(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_space-MNI152NLin6Asym_label-L_mask.nii.gz",
    )
    scans, adapter = read(tmp_path)
    assert scans[0].label is None
    assert [problem.reason for problem in adapter.problems] == [
        "it lies in the space of MNI152NLin6Asym, not in that of the scans"
    ]
    scans, adapter = read(tmp_path, label_pattern="*label-L_mask.nii.gz")
    assert scans[0].label is not None
    assert adapter.problems == []


def test_folders_above_the_root_say_nothing(tmp_path: Path) -> None:
    root = tmp_path / "sub-x" / "ses-export" / "bids"
    touch(root, "sub-01/anat/sub-01_T1w.nii.gz", "derivatives/s/sub-01/anat/sub-01_dseg.nii.gz")
    series(root, "sub-01/dwi/sub-01_dwi", None, num_volumes=2)
    (root / "dwi.bval").write_text("1000 0")
    scans, adapter = read(root)
    assert facts(scans) == [("01", "", "t1"), ("01", "", "dwi")]
    assert [scan.label is not None for scan in scans] == [True, True]
    assert scans[1].volumes == (0,)
    assert adapter.problems == []


def test_files_in_the_folder_of_somebody_else_are_set_aside(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-02_FLAIR.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-01_T1w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-1_T2w.nii.gz",
        "derivatives/x/sub-02/sub-01_dseg.nii.gz",
    )
    scans, adapter = read(tmp_path)
    assert facts(scans) == [("01", "", "t1"), ("02", "01", "t1")]
    assert [scan.label for scan in scans] == [None, None]
    assert [problem.reason for problem in adapter.problems] == [
        "it lies in sub-01, but its name says sub-02",
        "it lies in ses-2, but its name says ses-1",
        "it lies in sub-02, but its name says sub-01",
    ]


def test_derivatives_without_a_session_belong_to_the_only_one(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz",
        "sub-03/ses-1/anat/sub-03_ses-1_T1w.nii.gz",
        "derivatives/x/sub-01/sub-01_dseg.nii.gz",
        "derivatives/x/sub-01/sub-01_desc-brain_mask.nii.gz",
        "derivatives/x/sub-02/sub-02_dseg.nii.gz",
        "derivatives/x/sub-03/sub-03_dseg.nii.gz",
        "derivatives/y/sub-03/ses-1/sub-03_ses-1_dseg.nii.gz",
        "derivatives/x/sub-04/sub-04_dseg.nii.gz",
    )
    scans, adapter = read(tmp_path)
    assert [scan.label.name if scan.label else None for scan in scans] == [
        "sub-01_dseg.nii.gz",
        None,
        None,
        "sub-03_ses-1_dseg.nii.gz",
    ]
    assert [scan.brain_mask is not None for scan in scans] == [True, False, False, False]
    assert {Path(problem.file).name: problem.reason for problem in adapter.problems} == {
        "sub-02_dseg.nii.gz": "its name has no session, but its subject has several (1, 2)",
        "sub-03_dseg.nii.gz": (
            "the study has another label, which is used: sub-03_ses-1_dseg.nii.gz"
        ),
        "sub-04_dseg.nii.gz": "it is the label of a study without a scan",
    }


def test_a_label_scheme_belongs_to_scans_with_a_label(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "derivatives/sub-01/anat/sub-01_dseg.nii.gz",
    )
    scans, _ = read(tmp_path, label_scheme="lesion")
    assert [scan.label_scheme for scan in scans] == ["lesion", None]


def test_the_shipped_configuration_prepares_a_series(tmp_path: Path) -> None:
    data = tmp_path / "data"
    save(data / "sub-01/anat/sub-01_T1w.nii.gz", head(), scaled())
    volumes = np.stack([head(), head(level=300), head(level=500)], -1)
    save(data / "sub-01/dwi/sub-01_dwi.nii.gz", volumes, scaled())
    (data / "sub-01/dwi/sub-01_dwi.bval").write_text("0 1000 1000")
    cache = prepare_shipped("bids", tmp_path, {"source.root": str(data)})
    study = cache.studies[0]
    assert (study.id, study.modalities) == ("data_01", ("t1", "dwi"))
    dwi = next(scan for scan in study.scans if scan.modality == "dwi")
    voxels = cache.read_crop(study, dwi, (0, 0, 0), study.shape)
    trace = (head(level=300).astype(float) + head(level=500)) / 2
    assert voxels.sum() == pytest.approx(trace.sum(), rel=1e-3)


def test_a_wrong_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; correct 'root'"):
        read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no folders called sub-\*"):
        read(tmp_path)
