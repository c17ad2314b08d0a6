from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.adapters.isles22 import Isles22Adapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.tiny_images import grid, save_label, save_scans
from tests.adapters.trees import prepare_shipped, touch

CASE, NAME = "sub-strokecase0001/ses-0001", "sub-strokecase0001_ses-0001"


def read(root: Path) -> tuple[list[Scan], Isles22Adapter]:
    adapter = Isles22Adapter(str(root))
    scans = adapter.scans(ModalityVocabulary())
    assert Manifest(tuple(scans)).validate().problems == ()
    return scans, adapter


@pytest.mark.parametrize(
    ("flair", "dwi", "adc"),
    [
        (f"{CASE}/{NAME}_flair", f"{CASE}/{NAME}_dwi", f"{CASE}/{NAME}_adc"),
        (f"{CASE}/anat/{NAME}_FLAIR", f"{CASE}/dwi/{NAME}_dwi", f"{CASE}/dwi/{NAME}_adc"),
        (f"rawdata/{CASE}/anat/{NAME}_FLAIR", f"rawdata/{CASE}/dwi/dwi", f"rawdata/{CASE}/adc"),
    ],
)
def test_scans_in_every_layout_find_their_label(
    tmp_path: Path, flair: str, dwi: str, adc: str
) -> None:
    touch(tmp_path / "ISLES-2022", *(f"{name}.nii.gz" for name in (flair, dwi, adc)))
    touch(tmp_path / "ISLES-2022", f"derivatives/{CASE}/{NAME}_msk.nii.gz")
    touch(tmp_path / "ISLES-2022", f"{CASE}/dwi/{NAME}_dwi.json", "dataset_description.json")
    scans, adapter = read(tmp_path)
    assert {scan.modality: scan.path for scan in scans} == {
        modality: tmp_path / "ISLES-2022" / f"{name}.nii.gz"
        for modality, name in (("flair", flair), ("dwi", dwi), ("adc", adc))
    }
    assert {(scan.patient, scan.session, scan.label_scheme) for scan in scans} == {
        ("strokecase0001", "0001", "lesion")
    }
    assert {scan.label for scan in scans} == {
        tmp_path / "ISLES-2022/derivatives" / CASE / f"{NAME}_msk.nii.gz"
    }
    assert adapter.problems == []


def test_what_is_not_understood_is_set_aside(tmp_path: Path) -> None:
    touch(tmp_path, f"{CASE}/{NAME}_dwi.nii.gz", f"{CASE}/{NAME}_perf.nii.gz", "template.nii.gz")
    touch(tmp_path, "derivatives/sub-strokecase0002/ses-0001/msk.nii.gz")
    scans, adapter = read(tmp_path)
    assert [(scan.modality, scan.label) for scan in scans] == [("dwi", None)]
    reasons = {Path(problem.file).name: problem.reason for problem in adapter.problems}
    assert "unknown modality 'perf'" in reasons[f"{NAME}_perf.nii.gz"]
    assert "not named like sub-strokecase" in reasons["template.nii.gz"]
    assert "label of a study without a scan" in reasons["msk.nii.gz"]


def test_folders_above_the_root_say_nothing(tmp_path: Path) -> None:
    root = tmp_path / "sub-x" / "ses-export" / "ISLES-2022"
    touch(root, "sub-strokecase0001/dwi.nii.gz", "sub-strokecase0002/adc.nii.gz", "dwi.nii.gz")
    scans, adapter = read(root)
    assert [(scan.patient, scan.session, scan.modality) for scan in scans] == [
        ("strokecase0001", "", "dwi"),
        ("strokecase0002", "", "adc"),
    ]
    assert [Path(problem.file).name for problem in adapter.problems] == ["dwi.nii.gz"]


def test_a_scan_in_the_folder_of_another_case_is_set_aside(tmp_path: Path) -> None:
    touch(tmp_path, f"{CASE}/{NAME}_dwi.nii.gz", f"sub-strokecase0002/ses-0001/{NAME}_adc.nii.gz")
    scans, adapter = read(tmp_path)
    assert [scan.modality for scan in scans] == ["dwi"]
    assert [problem.reason for problem in adapter.problems] == [
        "it lies in sub-strokecase0002, but its name says sub-strokecase0001"
    ]


def test_other_data_sets_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "IXI002-Guys-0828-T1.nii.gz")
    with pytest.raises(ValueError, match="holds no image that is named like sub-strokecase0001"):
        read(tmp_path)


def test_the_shipped_configuration_takes_the_grid_of_the_diffusion_images(tmp_path: Path) -> None:
    root = tmp_path / "data/ISLES-2022"
    save_scans(root / CASE, f"dwi/{NAME}_dwi.nii.gz", f"dwi/{NAME}_adc.nii.gz")
    save_label(root / f"derivatives/{CASE}/{NAME}_msk.nii.gz", 1)
    # A FLAIR of twice the field of view would give another grid.
    flair = np.zeros((40, 40, 40), np.int16)
    flair[4:-4, 4:-4, 4:-4] = np.random.default_rng(0).integers(100, 200, (32, 32, 32))
    path = root / CASE / f"anat/{NAME}_FLAIR.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(flair, grid((1.5, 1.5, 1.5))), path)
    cache = prepare_shipped("isles22", tmp_path, {"source.root": str(tmp_path / "data")})
    (study,) = cache.studies
    assert [scan.modality for scan in study.scans] == ["flair", "dwi", "adc"]
    assert cache.spacing_mm == 1.5
    assert study.full_shape == tuple(np.ceil(np.array((28, 30, 26)) / 1.5).astype(int))
    assert study.label is not None
