"""Files of predictions lie on the grid of another file, down to its header."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from brainmvp_lightning.inference.decisions import Labelling
from brainmvp_lightning.inference.writing import (
    StudyPrediction,
    Target,
    read_header,
    write_on_grid,
    write_segmentation,
)
from tests.inference.tiny_networks import affine_of, describe, rotated


def file_of(affine: np.ndarray, shape: tuple[int, ...], path: str = "t1.nii.gz") -> Any:
    return {
        "modality": "t1",
        "path": path,
        "affine": affine.tolist(),
        "shape": list(shape),
        "axcodes": "",
        "to_study": np.eye(4).tolist(),
    }


def geometry_of(shape: tuple[int, ...], *files: Any) -> Any:
    return {
        "affine": affine_of("RAS", (1, 1, 1), shape).tolist(),
        "shape": list(shape),
        "box_start": [0, 0, 0],
        "full_shape": list(shape),
        "scans": list(files),
        "label": None,
    }


@pytest.mark.parametrize("codes", [(1, 1), (0, 2), (1, 0), (4, 3)])
def test_transforms_of_a_header_are_copied_bit_by_bit(
    codes: tuple[int, int], tmp_path: Path
) -> None:
    affine = rotated(affine_of("PIR", (0.8, 1.3, 2.0), (5, 6, 7)), 13)
    source = nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), affine)
    source.set_qform(affine, code=codes[0])
    source.set_sform(affine, code=codes[1])
    nib.save(source, tmp_path / "t1.nii.gz")
    target = Target(file_of(affine, (5, 6, 7)), read_header(tmp_path / "t1.nii.gz"))
    array = np.arange(210, dtype=np.uint8).reshape(5, 6, 7)
    write_on_grid(tmp_path / "a.nii.gz", array, target)
    written, source = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "t1.nii.gz")
    np.testing.assert_array_equal(written.affine, source.affine)
    for name in ("qform_code", "sform_code", "pixdim", "srow_x", "quatern_b", "qoffset_x"):
        np.testing.assert_array_equal(written.header[name], source.header[name])
    np.testing.assert_array_equal(np.asarray(written.dataobj), array)
    assert written.get_data_dtype() == np.uint8
    assert written.header.get_xyzt_units()[0] == "mm"


def test_headers_of_files_with_wrong_endings_and_nifti_2_are_read(tmp_path: Path) -> None:
    image = nib.Nifti2Image(np.zeros((5, 5, 5), np.uint8), np.diag((2, 2, 2, 1)))
    (tmp_path / "a.nii.gz").write_bytes(image.to_bytes())
    header = read_header(tmp_path / "a.nii.gz")
    affine = affine_of("LPS", (2, 2, 2), (5, 5, 5))
    write_on_grid(
        tmp_path / "b.nii.gz",
        np.zeros((5, 5, 5), np.uint8),
        Target(file_of(affine, (5, 5, 5)), header),
    )
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii.gz").affine, image.affine)


@pytest.mark.parametrize("degrees", [0, 20])
def test_without_a_header_the_affine_is_written(degrees: float, tmp_path: Path) -> None:
    affine = rotated(affine_of("LAS", (1, 1.5, 2), (5, 6, 7)), degrees)
    target = Target(file_of(affine, (5, 6, 7)))
    write_on_grid(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.float32), target)
    written = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    np.testing.assert_allclose(written.get_qform(), affine, atol=1e-5)
    assert (written.header["sform_code"], written.header["qform_code"]) == (1, 1)


def test_a_sheared_affine_gets_no_qform(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.08
    target = Target(file_of(affine, (5, 6, 7)))
    write_on_grid(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.uint8), target)
    written = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    assert written.header["qform_code"] == 0


def test_a_row_of_a_batch_has_its_own_faults_and_no_padding() -> None:
    geometry = geometry_of((4, 10, 6))
    batch: Any = {
        "study": ["a", "b"],
        "geometry": [None, geometry],
        "present": torch.tensor([[True, True], [False, True]]),
        "start": torch.tensor([[0, 0, 0], [-2, 0, -1]]),
        "faults": ["a: t1 is damaged", "b: t1 is gone: no file", "bb: t2 is damaged"],
    }
    probabilities = torch.rand(2, 3, 8, 10, 8)
    prediction = StudyPrediction.of(batch, 1, probabilities, ("t1", "t2"))
    assert prediction.study == "b"
    assert prediction.missing == ("t1",)
    assert prediction.warnings == ("t1 is gone: no file",)
    torch.testing.assert_close(prediction.probabilities, probabilities[1, :, 2:6, :, 1:7])


def test_labels_and_chances_are_written_on_the_grid_of_a_file(tmp_path: Path) -> None:
    affine = affine_of("LPS", (1, 1, 1), (6, 7, 8))
    file = file_of(affine, (6, 7, 8))
    probabilities = torch.zeros(2, 6, 6, 6)
    probabilities[0], probabilities[1] = 0.25, 0.75
    prediction = StudyPrediction("a", geometry_of((6, 6, 6), file), probabilities)
    labelling = Labelling.of(describe())
    paths = write_segmentation(
        prediction, Target(file), labelling, tmp_path / "new", ("air", "a b")
    )
    assert [path.name for path in paths] == [
        "a_seg.nii.gz",
        "a_prob-air.nii.gz",
        "a_prob-a-b.nii.gz",
    ]
    label, air, lesion = (np.asarray(nib.load(path).dataobj) for path in paths)
    assert label.shape == (6, 7, 8)
    np.testing.assert_array_equal(label == 1, lesion == 0.75)
    np.testing.assert_array_equal(air, np.where(label == 1, 0.25, 1))  # sure where nothing was seen
    assert lesion.dtype == np.float32
    # x is mirrored around voxel 3 of 6, so one of six planes lies beside the study.
    assert label.sum() == 5 * 6 * 6


def test_names_of_outputs_are_files_of_their_own(tmp_path: Path) -> None:
    file = file_of(np.eye(4), (4, 4, 4))
    prediction = StudyPrediction("a", geometry_of((4, 4, 4), file), torch.rand(2, 4, 4, 4))
    for names, expected in (
        (("肿瘤", "水肿"), ("0", "1")),
        (("ET", "et"), ("0-ET", "1-et")),
        (("a b", "a/b"), ("0-a-b", "1-a-b")),
        (("a b", "1-a-b"), ("a-b", "1-a-b")),
    ):
        paths = write_segmentation(
            prediction, Target(file), Labelling.of(describe()), tmp_path, names
        )
        assert [path.name for path in paths[1:]] == [f"a_prob-{n}.nii.gz" for n in expected]
