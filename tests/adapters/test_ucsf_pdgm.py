from pathlib import Path

import pytest

from brainmvp_lightning.adapters.ucsf_pdgm import UcsfPdgmAdapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.tiny_images import save_label, save_scans
from tests.adapters.trees import prepare_shipped, touch

USED = ("T1", "T1c", "T2", "FLAIR", "DWI", "ADC")
EXTRAS = ("SWI", "SWI_bias", "ASL", "ASL_M0", "DTI_eddy_FA", "DTI_eddy_L1", "DTI_eddy_noreg")
SEGMENTATIONS = ("tumor_segmentation", "brain_segmentation", "brain_parenchyma_segmentation")


def write(root: Path, case: str, *suffixes: str) -> None:
    touch(root, *(f"{case}_nifti/{case}_{suffix}.nii.gz" for suffix in suffixes))


def read(
    root: Path, extra: dict[str, list[str]] | None = None, **options: object
) -> tuple[list[Scan], UcsfPdgmAdapter]:
    adapter = UcsfPdgmAdapter(str(root), **options)  # type: ignore[arg-type]
    scans = adapter.scans(ModalityVocabulary(extra))
    assert Manifest(tuple(scans)).validate().problems == ()
    return scans, adapter


def test_a_full_case_has_six_scans_a_label_and_a_mask(tmp_path: Path) -> None:
    biased = ("T1_bias", "T1c_bias", "T2_bias", "FLAIR_bias", "DWI_bias")
    write(tmp_path, "UCSF-PDGM-0004", *USED, *biased, *EXTRAS, *SEGMENTATIONS)
    touch(tmp_path, "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_DTI_eddy.eddy_rotated_bvecs")
    scans, adapter = read(tmp_path)
    assert {scan.modality: scan.path.name[15:-7] for scan in scans} == dict(
        zip(("t1", "t1ce", "t2", "flair", "dwi", "adc"), USED, strict=True)
    )
    folder = tmp_path / "UCSF-PDGM-0004_nifti"
    assert {(scan.patient, scan.session, scan.label_scheme) for scan in scans} == {
        ("UCSF-PDGM-0004", "", "brats2021")
    }
    assert {scan.label for scan in scans} == {folder / "UCSF-PDGM-0004_tumor_segmentation.nii.gz"}
    assert {scan.brain_mask for scan in scans} == {
        folder / "UCSF-PDGM-0004_brain_segmentation.nii.gz"
    }
    assert adapter.problems == []


@pytest.mark.parametrize(("bias_corrected", "t1"), [(True, "T1_bias"), (False, "T1")])
def test_bias_corrected_images_are_a_choice_and_a_last_resort(
    tmp_path: Path, bias_corrected: bool, t1: str
) -> None:
    write(tmp_path, "UCSF-PDGM-0004", "T1", "T1_bias", "T2_bias", "ADC")
    scans, adapter = read(tmp_path, bias_corrected=bias_corrected)
    names = {scan.modality: scan.path.name[15:-7] for scan in scans}
    assert names == {"t1": t1, "t2": "T2_bias", "adc": "ADC"}
    assert adapter.problems == []


def test_follow_ups_are_sessions_of_their_patient_in_every_release(tmp_path: Path) -> None:
    for case in ("UCSF-PDGM-0429", "UCSF-PDGM-0138", "UCSF-PDGM-0396_FU175d"):
        write(tmp_path, case, "T1", "tumor_segmentation")
    scans, _ = read(tmp_path)
    assert [(scan.patient, scan.session) for scan in scans] == [
        ("UCSF-PDGM-0429", "FU003d"),
        ("UCSF-PDGM-0396", "FU175d"),
        ("UCSF-PDGM-0429", ""),
    ]


def test_extras_count_where_the_vocabulary_has_them(tmp_path: Path) -> None:
    write(tmp_path, "UCSF-PDGM-0004", "T1", "SWI", "ASL", "PET")
    scans, adapter = read(tmp_path, {"swi": []})
    assert [scan.modality for scan in scans] == ["swi", "t1"]
    (problem,) = adapter.problems
    assert "unknown modality 'PET'" in problem.reason
    assert problem.study == "ucsf_pdgm_UCSF-PDGM-0004"


def test_classes_come_from_the_metadata_with_three_digits(tmp_path: Path) -> None:
    for case in ("UCSF-PDGM-0004", "UCSF-PDGM-0429", "UCSF-PDGM-0429_FU003d"):
        write(tmp_path, case, "T1")
    metadata = tmp_path / "metadata.csv"
    metadata.write_text(
        "ID,Sex,WHO CNS Grade,IDH\nUCSF-PDGM-004,M,4,wildtype\nUCSF-PDGM-429,F,3,mutated\n"
        "UCSF-PDGM-0429_FU003d,F,2,mutated\n"
    )
    options = {"class_table": str(metadata), "class_column": "WHO CNS Grade"}
    scans, adapter = read(tmp_path, **options)
    assert [scan.target_class for scan in scans] == ["4", "2", "3"]
    assert adapter.problems == []
    with pytest.raises(ValueError, match="did you mean 'WHO CNS Grade'"):
        read(tmp_path, **{**options, "class_column": "WHO Grade"})


def test_other_data_sets_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "BraTS2021_00000/BraTS2021_00000_t1.nii.gz")
    with pytest.raises(
        ValueError, match=r"named like UCSF-PDGM-0004_T1.*found: BraTS2021_00000_t1"
    ):
        read(tmp_path)


def test_the_shipped_configuration_prepares(tmp_path: Path) -> None:
    case = tmp_path / "data/UCSF-PDGM-v3/UCSF-PDGM-0004_nifti"
    save_scans(case, *(f"UCSF-PDGM-0004_{suffix}.nii.gz" for suffix in USED))
    save_label(case / "UCSF-PDGM-0004_tumor_segmentation.nii.gz", 1, 2, 4)
    cache = prepare_shipped("ucsf_pdgm", tmp_path, {"source.root": str(tmp_path / "data")})
    (study,) = cache.studies
    assert [scan.modality for scan in study.scans] == ["flair", "t1", "t1ce", "t2", "dwi", "adc"]
    assert study.label is not None
