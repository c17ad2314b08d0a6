from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.transform import choose_affine
from tests.volumes.images import scaled

SHAPE = (11, 11, 11)


def header(sform: np.ndarray | None, qform: np.ndarray | None) -> nib.Nifti1Header:
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    image.set_sform(sform, code=0 if sform is None else 2)
    image.set_qform(qform, code=0 if qform is None else 1)
    return image.header


def test_equal_transforms_need_no_words() -> None:
    affine, notes = choose_affine(header(scaled(), scaled()), SHAPE, "x")
    np.testing.assert_array_equal(affine, scaled())
    assert notes == []


def test_the_sform_wins_and_the_distance_is_told() -> None:
    affine, notes = choose_affine(header(scaled(), scaled(1, (3, 4, 0))), SHAPE, "x")
    np.testing.assert_array_equal(affine, scaled())
    assert notes == ["its sform and qform disagree by up to 5.0 mm; the sform is used"]


def test_less_than_half_a_voxel_between_them_does_not_matter() -> None:
    _, notes = choose_affine(header(scaled(), scaled(1, (0.4, 0, 0))), SHAPE, "x")
    assert notes == []


def test_a_lone_transform_is_used_whichever_it_is() -> None:
    for sform, qform in ((scaled(2), None), (None, scaled(2))):
        affine, notes = choose_affine(header(sform, qform), SHAPE, "x")
        np.testing.assert_allclose(affine, scaled(2))
        assert notes == []


def test_no_transform_is_refused() -> None:
    with pytest.raises(
        VolumeError, match=r"no transform to the world .*left and right are unknown"
    ):
        choose_affine(header(None, None), SHAPE, "x")


def sheared() -> np.ndarray:
    affine = scaled()
    affine[0, 2] = 1.0
    return affine


def with_entry(value: float) -> np.ndarray:
    affine = scaled()
    affine[0, 0] = value
    return affine


@pytest.mark.parametrize(
    ("sform", "words"),
    [
        (np.zeros((4, 4)), "sform has a column of zeros"),
        (with_entry(np.nan), "sform holds NaN or infinity"),
        (sheared(), "sform is sheared by 45 degrees"),
        (scaled(53.0), "sform gives voxels of 53 x 53 x 53 mm"),
        (scaled(0.001), "sform gives voxels of 0.001 x 0.001 x 0.001 mm"),
    ],
)
def test_an_unusable_sform_is_refused_or_replaced(sform: np.ndarray, words: str) -> None:
    with pytest.raises(VolumeError, match=f"^x: its {words}.*; write the right one"):
        choose_affine(header(sform, None), SHAPE, "x")
    affine, notes = choose_affine(header(sform, scaled()), SHAPE, "x")
    np.testing.assert_allclose(affine, scaled())
    assert len(notes) == 1
    assert words in notes[0]
    assert notes[0].endswith("the other transform is used")


def test_the_sentence_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=r"^some/file.nii: "):
        choose_affine(header(None, None), SHAPE, "some/file.nii")


def test_a_sign_of_zero_in_the_qform_counts_as_one() -> None:
    unsigned = header(None, scaled(2, (1, 2, 3)))
    unsigned["pixdim"][0] = 0
    affine, notes = choose_affine(unsigned, SHAPE, "x")
    np.testing.assert_allclose(affine, scaled(2, (1, 2, 3)))
    assert notes == []
    assert unsigned["pixdim"][0] == 0
    unsigned["pixdim"][0] = 0.5
    with pytest.raises(VolumeError, match="qform is not a valid rotation"):
        choose_affine(unsigned, SHAPE, "x")
