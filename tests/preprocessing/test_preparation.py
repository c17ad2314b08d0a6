import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.preprocessing.pipeline import Recipe
from brainmvp_lightning.volumes.cache import Cache, Clip
from brainmvp_lightning.volumes.nifti import write_nifti
from tests.preprocessing.cohort import SHAPE, run, voxels, write_scan
from tests.volumes.images import head, save, scaled


def test_a_stored_scan_is_the_box_of_the_file_bit_by_bit(tmp_path: Path) -> None:
    scan = write_scan(tmp_path, "p", "t1", target_class="HGG", split="val")
    run(tmp_path, [scan])
    cache = Cache.open(tmp_path / "cache", Recipe().hash())
    (study,) = cache.studies
    assert (study.id, study.split, study.target_class) == ("d_p", "val", "HGG")
    assert (study.shape, study.full_shape) == ((8, 10, 6), SHAPE)
    assert (study.box_start, study.box_stop) == ((2, 2, 2), (10, 12, 8))
    np.testing.assert_array_equal(study.affine, scaled(1.0, (-4, -5, -3)))
    stored = study.scan("t1")
    assert (stored.slope, stored.intercept, stored.quantisation_error) == (1.0, 0.0, 0.0)
    inner = voxels(scan)[2:10, 2:12, 2:8]
    np.testing.assert_array_equal(cache.read_crop(study, stored, (0, 0, 0), study.shape), inner)
    assert stored.percentiles["foreground"]["99"] == np.percentile(inner, 99)
    unit = cache.read_unit_crop(study, stored, (0, 0, 0), study.shape, Clip(5, 95))
    low, high = np.percentile(inner, (5, 95))
    np.testing.assert_allclose(unit, np.clip((inner - low) / (high - low), 0, 1), atol=1e-6)


def test_the_source_is_remembered_relative_to_the_manifest(tmp_path: Path) -> None:
    scan = write_scan(tmp_path, "p", "t1")
    run(tmp_path, [scan])
    source = Cache.open(tmp_path / "cache").studies[0].scan("t1").source
    assert source["path"] == "../data/p/t1.nii.gz"
    assert source["size"] == scan.path.stat().st_size
    assert (source["shape"], source["axcodes"]) == ([12, 14, 10], "RAS")
    assert "../data/p/t1.nii.gz" in (tmp_path / "cache/manifest.csv").read_text()


def test_the_box_holds_the_heads_of_all_scans_and_the_margin(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path, "p", modality) for modality in ("t1", "t2")]
    image = np.zeros(SHAPE, np.int16)
    image[0:4, 5:8, 5:8] = np.random.default_rng(0).integers(1, 99, (4, 3, 3))
    save(scans[1].path, image, scaled(1.0, (-6, -7, -5)))
    run(tmp_path, scans)
    assert Cache.open(tmp_path / "cache").studies[0].box_start == (0, 2, 2)
    run(tmp_path / "x", scans, Recipe(margin_mm=1.5))
    study = Cache.open(tmp_path / "x/cache").studies[0]
    assert (study.box_start, study.box_stop) == ((0, 0, 0), (12, 14, 10))


def test_scans_on_other_grids_show_the_same_place(tmp_path: Path) -> None:
    """A bright cube from 10 to 14 mm in a head, written on three grids."""
    scans = [write_scan(tmp_path, "p", modality) for modality in ("t1", "t2", "adc")]
    grids = {"t1": (24, 1.0, 0.5), "t2": (12, 2.0, 1.0), "adc": (48, 0.5, -3.75)}
    for scan in scans:
        count, spacing, origin = grids[scan.modality]
        centres = origin + spacing * np.arange(count)
        inside = (centres > 2) & (centres < 22)
        bright = (centres > 10) & (centres < 14)
        image = 100.0 * np.einsum("i,j,k->ijk", inside, inside, inside)
        image += 100.0 * np.einsum("i,j,k->ijk", bright, bright, bright)
        flipped = np.diag([-spacing, -spacing, spacing, 1.0])
        flipped[:3, 3] = (centres[-1], centres[-1], centres[0])
        save(scan.path, image[::-1, ::-1].astype(np.int16), flipped)
    run(tmp_path, scans)
    cache = Cache.open(tmp_path / "cache")
    (study,) = cache.studies
    assert study.shape == (20, 20, 20)
    np.testing.assert_array_equal(study.affine, scaled(1.0, (2.5, 2.5, 2.5)))
    for name in study.modalities:
        crop = cache.read_crop(study, study.scan(name), (0, 0, 0), study.shape)
        np.testing.assert_allclose(crop[9:11, 9:11, 9:11], 200, atol=0.01)
        np.testing.assert_allclose(crop[2:6, 2:6, 2:6], 100, atol=0.01)
        assert study.scan(name).source["is_resampled"] == (name != "t1")


def test_the_first_modality_of_the_recipe_gives_the_grid(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path, "p", modality) for modality in ("t1", "t2")]
    save(scans[1].path, head((20, 20, 20)), scaled(1.0, (-10, -10, -10)))
    run(tmp_path, scans)
    assert Cache.open(tmp_path / "cache").studies[0].full_shape == SHAPE
    run(tmp_path / "x", scans, Recipe(reference=("t2",)))
    assert Cache.open(tmp_path / "x/cache").studies[0].full_shape == (20, 20, 20)


def test_labels_lie_on_the_grid_of_the_scans(tmp_path: Path) -> None:
    label = np.zeros((24, 28, 20), np.float64)  # half a millimetre, stored as float64
    label[8:12, 8:12, 8:12] = 2
    affine = scaled(0.5, (-6.25, -7.25, -5.25))
    path = save(tmp_path / "label.nii.gz", label, affine)
    run(tmp_path, [write_scan(tmp_path, "p", "t1", label=path)])
    cache = Cache.open(tmp_path / "cache")
    (study,) = cache.studies
    crop = cache.read_label_crop(study, (0, 0, 0), study.shape)
    assert crop.dtype == np.uint8
    expected = np.zeros(study.shape, np.uint8)
    expected[2:4, 2:4, 2:4] = 2  # voxels 4 and 5 of the full grid, the box begins at 2
    np.testing.assert_array_equal(crop, expected)


def rejected(root: Path, file: str = "rejected.csv") -> list[dict[str, str]]:
    with (root / "cache" / file).open() as table:
        return list(csv.DictReader(table))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda _: None, "there is no such file"),
        (lambda path: save(path, head() / 3 + np.nan), "it is no label: it holds fractions or NaN"),
        (lambda path: save(path, head() / 3), "it is no label: it holds fractions or NaN"),
        (lambda path: save(path, head().astype(np.int32) * 1000), "it is no label: values reach"),
        (lambda path: save(path, head(), scaled(1, (900, 0, 0))), "it shares only 0% of its field"),
    ],
)
def test_a_bad_label_is_set_aside_and_the_scans_stay(
    tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "label.nii.gz"
    spoil(path)
    summary = run(tmp_path, [write_scan(tmp_path, "p", "t1", label=path)])
    assert summary.num_labels == 0
    study = Cache.open(tmp_path / "cache").studies[0]
    assert (study.modalities, study.label) == (("t1",), None)
    (row,) = rejected(tmp_path)
    assert row["study"] == "d_p"
    assert row["reason"].startswith(f"label: {reason}")
    assert row["remedy"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def nonfinite(path: Path, count: int) -> None:
    image = head(SHAPE).astype(np.float32)
    image.ravel()[:count] = np.nan
    image[5, 5, 5] = np.inf
    save(path, image, scaled(1.0, (-6, -7, -5)))


BAD_SCANS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "there is no such file"),
    "truncated": (truncate, "its compressed data end too early"),
    "zero bytes": (lambda path: path.write_bytes(b""), "it is empty (0 bytes)"),
    "web page": (lambda path: path.write_bytes(b"<html>"), "it is a web page, not an image"),
    "all zero": (lambda path: save(path, head() * 0), "it is empty: all voxels are 0"),
    "constant": (lambda path: save(path, head() * 0 + 7), "it is constant: all voxels are 7"),
    "all NaN": (lambda path: save(path, head() * np.nan), "1680 voxels (100.00%) are NaN"),
    "many NaN": (lambda path: nonfinite(path, 20), "21 voxels (1.25%) are NaN or infinite"),
    "4-D": (lambda path: save(path, np.ones((6, 6, 6, 2))), "it holds 2 volumes (6 x 6 x 6 x 2)"),
    "single slice": (lambda path: save(path, np.ones((9, 9, 1))), "it has fewer than 5 slices"),
    "RGB": (
        lambda path: save(path, np.zeros((6, 6, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "its voxels are colours",
    ),
    "no transform": (
        lambda path: save(path, head(), sform_code=0, qform_code=0),
        "it has no transform to the world",
    ),
    "zero transform": (
        lambda path: save(path, head(), srow_x=0, srow_y=0, srow_z=0, qform_code=0),
        "its sform has a column of zeros",
    ),
    "elsewhere": (
        lambda path: save(path, head(), scaled(1.0, (500, 0, 0))),
        "no head was found in the field of view of the reference scan",
    ),
    "hardly overlapping": (
        lambda path: save(path, head(SHAPE), scaled(1.0, (2, -7, -5))),
        "it shares only 33% of its field of view with the reference scan (t1)",
    ),
}


@pytest.mark.parametrize("name", BAD_SCANS)
def test_a_bad_scan_is_set_aside_with_a_sentence_and_the_rest_goes_on(
    tmp_path: Path, name: str
) -> None:
    spoil, reason = BAD_SCANS[name]
    good = write_scan(tmp_path, "p", "t1")
    bad = write_scan(tmp_path, "p", "t2")
    lonely = write_scan(tmp_path, "q", "t2")
    spoil(bad.path)
    recipe = Recipe(min_overlap=0.5)
    summary = run(tmp_path, [good, bad, lonely], recipe)
    assert summary.scans_by_modality == {"t1": 1, "t2": 1}
    studies = Cache.open(tmp_path / "cache").studies
    assert [study.modalities for study in studies] == [("t1",), ("t2",)]
    (row,) = rejected(tmp_path)
    assert row["study"] == "d_p"
    assert row["file"].endswith("data/p/t2.nii.gz")
    assert row["reason"].startswith(reason)
    assert row["remedy"]
    assert Cache.open(tmp_path / "cache").rejected == 1


def plain_named_gz(path: Path) -> None:
    path.write_bytes(gzip.decompress(path.read_bytes()))


def two_transforms(path: Path) -> None:
    save(path, head(SHAPE), scaled(1.0, (-6, -7, -5)), qform_code=1, qoffset_x=30)


HANDLED: dict[str, tuple[Callable[[Path], object], str]] = {
    "plain file named .gz": (plain_named_gz, "it is not compressed although its name says so"),
    "a few NaN": (
        lambda path: nonfinite(path, 8),
        "9 voxels (0.54%) are NaN or infinite; they became 0",
    ),
    "two transforms": (two_transforms, "its sform and qform disagree by up to 36.0 mm"),
    "an unusable sform": (
        lambda path: save(
            path, head(SHAPE), scaled(1.0, (-6, -7, -5)), srow_x=np.nan, qform_code=1
        ),
        "its sform holds NaN or infinity, so the other transform is used",
    ),
}


@pytest.mark.parametrize("name", HANDLED)
def test_an_odd_scan_is_used_and_noted(tmp_path: Path, name: str) -> None:
    spoil, note = HANDLED[name]
    scan = write_scan(tmp_path, "p", "t1")
    spoil(scan.path)
    summary = run(tmp_path, [scan])
    assert summary.rejected == ()
    assert rejected(tmp_path) == []
    (row,) = rejected(tmp_path, "notes.csv")
    assert row["reason"].startswith(note)
    cache = Cache.open(tmp_path / "cache")
    crop = cache.read_crop(cache.studies[0], cache.studies[0].scan("t1"), (0, 0, 0), (8, 10, 6))
    assert np.isfinite(crop).all()


def test_a_volume_with_a_fourth_axis_of_one_is_just_a_volume(tmp_path: Path) -> None:
    scan = write_scan(tmp_path, "p", "t1")
    save(scan.path, head(SHAPE)[..., None], scaled(1.0, (-6, -7, -5)))
    run(tmp_path, [scan])
    assert Cache.open(tmp_path / "cache").studies[0].shape == (8, 10, 6)


def test_a_bad_reference_is_replaced_by_the_next(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path, "p", modality) for modality in ("t1", "t2", "flair")]
    scans[0].path.write_bytes(b"")
    run(tmp_path, scans)
    assert Cache.open(tmp_path / "cache").studies[0].modalities == ("flair", "t2")


def test_float_images_state_their_quantisation_error(tmp_path: Path) -> None:
    scan = write_scan(tmp_path, "p", "t1")
    image = head(SHAPE) * np.float32(0.123)
    write_nifti(scan.path, image, scaled())
    summary = run(tmp_path, [scan])
    cache = Cache.open(tmp_path / "cache")
    stored = cache.studies[0].scan("t1")
    assert stored.quantisation_error > 0
    assert summary.worst_error == pytest.approx(1 / 2**13, rel=0.01)  # half of 1/4096
    crop = cache.read_crop(cache.studies[0], stored, (-2, -2, -2), SHAPE)
    assert np.abs(crop - image).max() <= stored.quantisation_error * 1.01
