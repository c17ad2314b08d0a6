import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import peek_grid, read_nifti, write_nifti
from tests.volumes.images import head, save, scaled, write_raw


def fault(path: Path) -> str:
    """The sentence about a bad file, without its name."""
    with pytest.raises(VolumeError) as caught:
        read_nifti(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.remedy
    return str(caught.value)[len(f"{path}: ") :]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_voxels_keep_their_type_and_value(tmp_path: Path, name: str, dtype: type) -> None:
    array = head().astype(dtype)
    volume = read_nifti(save(tmp_path / name, array, scaled(2.0, (1, 2, 3))))
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.affine, scaled(2.0, (1, 2, 3)))
    assert (volume.slope, volume.intercept, volume.notes) == (1.0, 0.0, ())


def test_float64_becomes_float32(tmp_path: Path) -> None:
    assert read_nifti(save(tmp_path / "a.nii", head() / 3)).array.dtype == np.float32


def test_big_endian_files_become_native(tmp_path: Path) -> None:
    image = nib.Nifti1Image(head(), scaled(), nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, head())


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(head(), scaled()), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").array, head())


def test_scaled_integers_stay_integers_with_their_scaling(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", head(), scl_slope=0.5, scl_inter=10)
    volume = read_nifti(path)
    np.testing.assert_array_equal(volume.array, head())
    assert (volume.slope, volume.intercept) == (0.5, 10.0)
    np.testing.assert_array_equal(volume.real(), head() * 0.5 + 10)


@pytest.mark.parametrize("extra", [(1,), (1, 1)])
def test_trailing_axes_of_one_are_dropped(tmp_path: Path, extra: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.nii.gz", head().reshape(12, 14, 10, *extra))
    assert read_nifti(path).array.shape == (12, 14, 10)


def test_a_plain_file_named_gz_is_read_with_a_note(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", head())
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii").read_bytes())
    volume = read_nifti(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(volume.array, head())
    assert volume.notes == ("it is not compressed although its name says so",)


def test_a_compressed_file_named_nii_is_read_with_a_note(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", head())
    (tmp_path / "b.nii").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    assert "compressed although" in read_nifti(tmp_path / "b.nii").notes[0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_gz_is_never_read_in_part(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "a.nii.gz", head())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert fault(path).startswith("its compressed data end too early; download")


def test_a_truncated_nii_says_how_much_is_there(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", head())
    path.write_bytes(path.read_bytes()[:-100])
    assert fault(path).startswith("it holds 3260 of 3360 bytes of voxels")  # 12 * 14 * 10 * 2


def test_a_flipped_byte_in_a_gz_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", head())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "compressed data" in fault(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty (0 bytes); download or convert it again"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page, not an image"),
        (b"  <html><body>login</body>", "it is a web page, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (b"hello world " * 100, "it is not a NIfTI file; convert it to NIfTI"),
        (b"abc", "it is not a NIfTI file"),
        (gzip.compress(b"hello"), "it is not a NIfTI file"),
    ],
)
def test_files_that_are_no_images_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    assert fault(path).startswith(sentence)


def test_missing_files_folders_and_dead_links_are_named(tmp_path: Path) -> None:
    assert fault(tmp_path / "a.nii").startswith("there is no such file; correct the path")
    (tmp_path / "b.nii").symlink_to(tmp_path / "annex")
    assert fault(tmp_path / "b.nii").startswith("it is a link to nothing")
    (tmp_path / "c.nii").mkdir()
    assert fault(tmp_path / "c.nii").startswith("it cannot be read (Is a directory)")


def test_several_volumes_are_refused_with_advice(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.zeros((6, 6, 6, 4), np.int16))
    assert fault(path).startswith("it holds 4 volumes (6 x 6 x 6 x 4); give one 3-D image: for di")


def test_the_advice_names_the_choice_of_volumes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.zeros((6, 6, 6, 4), np.int16))
    assert "name those whose mean is wanted in 'volumes', counted from 0" in fault(path)


def four_volumes() -> np.ndarray:
    return np.random.default_rng(1).integers(-30000, 30000, (6, 7, 8, 4)).astype(np.int16)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_one_volume_of_several_is_kept_bit_by_bit(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, four_volumes(), scaled(2.0), scl_slope=0.5, scl_inter=10)
    for index in range(4):
        volume = read_nifti(path, (index,))
        assert volume.array.dtype == np.int16
        assert (volume.slope, volume.intercept) == (0.5, 10.0)
        np.testing.assert_array_equal(volume.array, four_volumes()[..., index])
        np.testing.assert_array_equal(volume.affine, scaled(2.0))


def test_several_volumes_are_averaged_in_real_units(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", four_volumes(), scl_slope=0.5, scl_inter=10)
    volume = read_nifti(path, (0, 2, 3))
    assert volume.array.dtype == np.float32
    assert (volume.slope, volume.intercept) == (1.0, 0.0)
    expected = (four_volumes()[..., [0, 2, 3]] * 0.5 + 10).mean(axis=3)
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6, atol=1e-3)


def test_volumes_of_a_fifth_axis_are_counted_on(tmp_path: Path) -> None:
    array = four_volumes().reshape(6, 7, 8, 1, 4)
    path = save(tmp_path / "a.nii.gz", array)
    np.testing.assert_array_equal(read_nifti(path, [3]).array, array[..., 0, 3])
    assert fault(path).startswith("it holds 4 volumes (6 x 7 x 8 x 1 x 4)")


@pytest.mark.parametrize(
    ("volumes", "sentence"),
    [
        ((4,), "it has no volume 4: it holds 4 volumes; 'volumes' may be 0 to 3"),
        ((0, -1, 9), "it has no volumes -1, 9: it holds 4 volumes"),
    ],
)
def test_a_volume_that_is_not_there_is_named(
    tmp_path: Path, volumes: tuple[int, ...], sentence: str
) -> None:
    path = save(tmp_path / "a.nii.gz", four_volumes())
    with pytest.raises(VolumeError, match=sentence):
        read_nifti(path, volumes)


def test_a_file_of_one_volume_has_volume_0_only(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", head())
    np.testing.assert_array_equal(read_nifti(path, (0,)).array, head())
    with pytest.raises(VolumeError, match="no volume 1: it holds 1 volume; leave 'volumes' empty"):
        read_nifti(path, (1,))


def test_a_short_file_of_several_volumes_is_refused_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", four_volumes())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VolumeError, match="it holds 2588 of 2688 bytes of voxels"):
        read_nifti(path, (0,))


def test_bytes_behind_the_voxels_do_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", head())
    write_raw(tmp_path / "b.nii.gz", path.read_bytes() + b"more")
    np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz").array, head())


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("datatype", 77, "its voxels are of an unknown type (77)"),
        ("vox_offset", np.nan, "its voxels cannot begin at byte nan"),
        ("vox_offset", -352, "its voxels cannot begin at byte -352"),
    ],
)
def test_a_senseless_layout_is_named(
    tmp_path: Path, field: str, value: float, sentence: str
) -> None:
    for name in ("a.nii", "a.nii.gz"):
        path = save(tmp_path / name, head(), **{field: value})
        assert fault(path).startswith(sentence)


@pytest.mark.parametrize("shape", [(20, 20, 1), (1, 20, 20), (20, 4, 20), (20, 20)])
def test_single_slices_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.nii", np.ones(shape, np.int16))
    assert fault(path).startswith("it has fewer than 5 slices along an axis")


def test_colours_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((6, 6, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert fault(save(tmp_path / "a.nii", rgb)).startswith("its voxels are colours")
    assert "complex" in fault(save(tmp_path / "b.nii", np.zeros((6, 6, 6), np.complex64)))


def test_a_header_without_its_image_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(head(), scaled()), tmp_path / "a.hdr")
    assert fault(tmp_path / "a.hdr").startswith("it is a header without its image")
    nib.save(nib.AnalyzeImage(head(), np.eye(4)), tmp_path / "b.hdr")
    assert fault(tmp_path / "b.hdr").startswith("it is an Analyze file")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    write_nifti(tmp_path / name, head(), scaled(2.0, (5, 6, 7)))
    volume = read_nifti(tmp_path / name)
    np.testing.assert_array_equal(volume.array, head())
    np.testing.assert_array_equal(volume.affine, scaled(2.0, (5, 6, 7)))
    assert volume.notes == ()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_peeking_reads_the_header_only(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((6, 6, 6, 3), np.int16), scaled(2.0))
    grid = peek_grid(path)
    assert grid is not None
    assert (grid.voxel_mm3, grid.num_volumes) == (8.0, 3)
    write_raw(tmp_path / "b.nii", b"no")
    assert peek_grid(tmp_path / "b.nii") is None
    assert peek_grid(tmp_path / "c.nii") is None


@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_integers_that_fall_with_the_intensity_become_real_numbers(
    tmp_path: Path, dtype: type
) -> None:
    path = save(tmp_path / "a.nii.gz", head().astype(dtype), scl_slope=-2, scl_inter=500)
    volume = read_nifti(path)
    assert volume.array.dtype == np.float32
    assert (volume.slope, volume.intercept) == (1.0, 0.0)
    np.testing.assert_array_equal(volume.array, 500.0 - 2.0 * head().astype(dtype))
