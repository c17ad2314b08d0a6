"""What a stored study says about itself, and files of several volumes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.preprocessing.preparation import Prepared, prepare_study
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.blocks import decode_blocks
from brainmvp_lightning.volumes.frame import decode_crop, read_frame
from brainmvp_lightning.volumes.records import CachedScan, CachedStudy
from tests.volumes.images import head, save, scaled

SHAPE = (40, 32, 24)


def study_of(*scans: Scan, label: Path | None = None, scheme: str | None = None) -> Study:
    return Study("d_p", "d", "p", "", scans, label, None, "train", scheme)


def scan_of(path: Path, modality: str = "t1", volumes: tuple[int, ...] = ()) -> Scan:
    return Scan("p", "", "d", modality, path, volumes=volumes)


def stored(prepared: Prepared) -> CachedStudy:
    assert prepared.study is not None, prepared.problems
    return prepared.study


def voxels(root: Path, study: CachedStudy, scan: CachedScan) -> np.ndarray:
    frame = read_frame(root / scan.file, scan.digest)
    return decode_crop(frame, (0, 0, 0), study.shape) * scan.slope + scan.intercept


def occupied(mask: np.ndarray) -> np.ndarray:
    """Blocks of 8 voxels with anything in them, one by one."""
    shape = tuple(-(-n // 8) for n in mask.shape)
    found = [
        index
        for index in np.ndindex(shape)
        if mask[tuple(slice(8 * i, 8 * i + 8) for i in index)].any()
    ]
    return np.array(found).reshape(-1, 3)


def test_blocks_tell_where_head_and_annotation_are(tmp_path: Path) -> None:
    first, second = np.zeros((2, *SHAPE), np.int16)
    generator = np.random.default_rng(0)
    first[2:12, 4:12, 3:9] = generator.integers(1, 9, (10, 8, 6))
    second[4:35, 4:12, 3:9] = generator.integers(1, 9, (31, 8, 6))
    label = np.zeros(SHAPE, np.uint8)
    label[30:33, 5:7, 4:6] = (4,)
    label[3, 5, 4] = 1
    scans = [
        scan_of(save(tmp_path / f"{name}.nii.gz", image), name)
        for name, image in (("t1", first), ("t2", second))
    ]
    path = save(tmp_path / "label.nii.gz", label)
    study = stored(prepare_study(study_of(*scans, label=path, scheme="lesion"), Recipe(), tmp_path))
    assert (study.box_start, study.box_stop) == ((2, 4, 3), (35, 12, 9))
    inside = np.s_[2:35, 4:12, 3:9]
    heads = ((first > 0) | (second > 0))[inside]
    np.testing.assert_array_equal(decode_blocks(study.head_blocks, study.shape), occupied(heads))
    labels = decode_blocks(study.label_blocks, study.shape)
    np.testing.assert_array_equal(labels, occupied(label[inside]))
    assert (study.label_scheme, study.label_values) == ("lesion", (1, 4))


def test_without_an_annotation_there_is_nothing_to_tell(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", head())
    study = stored(prepare_study(study_of(scan_of(path)), Recipe(), tmp_path))
    assert (study.label_scheme, study.label_values, study.label_blocks) == (None, (), "")
    assert "to_study" not in study.scans[0].source
    assert "volumes" not in study.scans[0].source


def test_negative_values_of_an_annotation_are_not_listed(tmp_path: Path) -> None:
    label = np.zeros((12, 14, 10), np.int16)
    label[5, 5, 5], label[6, 6, 6] = -1, 300
    scan = scan_of(save(tmp_path / "a.nii.gz", head()))
    path = save(tmp_path / "label.nii.gz", label)
    study = stored(prepare_study(study_of(scan, label=path), Recipe(), tmp_path))
    assert study.label_values == (300,)


def four_channels(path: Path) -> np.ndarray:
    array = np.stack([head((12, 14, 10), 100 * (n + 1), seed=n) for n in range(4)], axis=3)
    save(path, array, scaled(1.0, (-6, -7, -5)))
    return array


def test_scans_of_one_file_are_its_volumes(tmp_path: Path) -> None:
    array = four_channels(tmp_path / "all.nii.gz")
    names = ("flair", "t1", "t1ce", "t2")
    scans = [scan_of(tmp_path / "all.nii.gz", name, (n,)) for n, name in enumerate(names)]
    study = stored(prepare_study(study_of(*scans), Recipe(), tmp_path))
    for number, scan in enumerate(study.scans):
        assert (scan.modality, scan.quantisation_error) == (names[number], 0.0)
        assert scan.source["volumes"] == [number]
        expected = array[2:-2, 2:-2, 2:-2, number]
        np.testing.assert_array_equal(voxels(tmp_path, study, scan), expected)


def test_the_mean_of_volumes_is_stored(tmp_path: Path) -> None:
    array = four_channels(tmp_path / "dwi.nii.gz")
    scan = scan_of(tmp_path / "dwi.nii.gz", "dwi", (1, 2, 3))
    study = stored(prepare_study(study_of(scan), Recipe(), tmp_path))
    found = voxels(tmp_path, study, study.scans[0])
    expected = array[2:-2, 2:-2, 2:-2, 1:].mean(axis=3)
    assert np.abs(found - expected).max() <= 1.01 * study.scans[0].quantisation_error


def test_a_wrong_volume_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    four_channels(tmp_path / "all.nii.gz")
    scans = [scan_of(tmp_path / "all.nii.gz", name, (n,)) for n, name in ((0, "t1"), (7, "t2"))]
    prepared = prepare_study(study_of(*scans), Recipe(), tmp_path)
    assert stored(prepared).modalities == ("t1",)
    (problem,) = prepared.problems
    assert problem.reason == "it has no volume 7: it holds 4 volumes"


def test_a_damaged_file_of_several_scans_is_named_for_each(tmp_path: Path) -> None:
    (tmp_path / "all.nii.gz").write_bytes(b"nonsense")
    scans = [scan_of(tmp_path / "all.nii.gz", name, (n,)) for n, name in ((0, "t1"), (1, "t2"))]
    prepared = prepare_study(study_of(*scans), Recipe(), tmp_path)
    assert prepared.study is None
    assert [problem.reason for problem in prepared.problems] == ["it is not a NIfTI file"] * 2


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0)])
def test_trimming_changes_no_voxel_of_scans_that_are_interpolated(
    tmp_path: Path, axes: tuple[int, ...]
) -> None:
    """A bare brain in a large field of zeros and the same in a small one are stored alike."""
    brain = np.random.default_rng(0).integers(100, 200, (9, 8, 7)).astype(np.int16)
    crops = {}
    for name, margin in (("small", 1), ("large", 12)):
        affine = np.eye(4)
        affine[:3, :3] = np.diag([-1.3, 1.1, 0.9])[:, axes]
        affine[:3, 3] = -affine[:3, :3] @ np.full(3, margin) + 0.3
        path = save(tmp_path / f"{name}.nii.gz", np.pad(brain, margin), affine)
        reference = save(tmp_path / f"{name}_t1.nii.gz", np.pad(brain, 12), scaled(1, (-15,) * 3))
        scans = (scan_of(reference), scan_of(path, "t2"))
        study = stored(prepare_study(study_of(*scans), Recipe(), tmp_path / name))
        assert study.scan("t2").source["is_resampled"]
        crops[name] = voxels(tmp_path / name, study, study.scan("t2")), study.box_start
    assert crops["small"][1] == crops["large"][1]
    # Headers hold float32, so positions differ a little, and a level may be rounded the other way.
    error = study.scan("t2").quantisation_error
    np.testing.assert_allclose(crops["small"][0], crops["large"][0], rtol=0, atol=2.1 * error)


def test_a_mask_of_the_brain_makes_the_box(tmp_path: Path) -> None:
    mask = np.zeros((12, 14, 10), np.uint8)
    mask[4:8, 5:9, 3:6] = 1
    scan = scan_of(save(tmp_path / "a.nii.gz", head()))
    scan = replace(scan, brain_mask=save(tmp_path / "mask.nii.gz", mask))
    study = stored(prepare_study(study_of(scan), Recipe(brain_mask="file"), tmp_path))
    assert (study.box_start, study.box_stop) == ((4, 5, 3), (8, 9, 6))
    np.testing.assert_array_equal(voxels(tmp_path, study, study.scans[0]), head()[4:8, 5:9, 3:6])


def test_the_way_that_registration_found_is_remembered(tmp_path: Path) -> None:
    pytest.importorskip("niimath", reason="registration needs niimath")
    shape = (36, 40, 32)
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij")
    image = np.where((x / 10) ** 2 + (y / 13) ** 2 + (z / 9) ** 2 < 1, 300 + 9 * x + 5 * y * z, 0)
    image[20:24, 24:30, 18:22] += 900
    scans = [
        scan_of(
            save(tmp_path / f"{name}.nii.gz", image.astype(np.int16), scaled(2.0, origin)), name
        )
        for name, origin in (("t1", (-36.0, -40.0, -32.0)), ("t2", (-30.0, -44.0, -32.0)))
    ]
    study = stored(prepare_study(study_of(*scans), Recipe(registration="rigid"), tmp_path))
    assert "to_study" not in study.scan("t1").source
    moved = np.array(study.scan("t2").source["to_study"])
    np.testing.assert_allclose(moved[:3, 3], (-6, 4, 0), atol=1)
    np.testing.assert_array_equal(study.scan("t2").source["affine"], scaled(2.0, (-30, -44, -32)))
