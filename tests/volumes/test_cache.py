import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_lightning.volumes.cache import (
    PERCENTILE_KEYS,
    Cache,
    CachedScan,
    CachedStudy,
    CacheError,
    Clip,
    DamagedFrameError,
)
from brainmvp_lightning.volumes.records import study_from_json, study_to_json
from brainmvp_lightning.volumes.writer import CacheWriter, write_frame

SHAPE = (18, 9, 21)
VOXELS = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
LABEL = (np.random.default_rng(1).random(SHAPE) > 0.8).astype(np.uint8)


def stored(
    root: Path, name: str, voxels: np.ndarray, slope: float = 1.0, intercept: float = 0.0
) -> CachedScan:
    file, digest, num_bytes = write_frame(root, "d_p", name, voxels, {"name": name})
    values = {key: float(number * 10) for number, key in enumerate(PERCENTILE_KEYS)}
    return CachedScan(
        modality=name,
        file=file,
        digest=digest,
        num_bytes=num_bytes,
        dtype=voxels.dtype.name,
        slope=slope,
        intercept=intercept,
        quantisation_error=0.0,
        background=-7.0,
        percentiles={} if name == "label" else {"foreground": values, "volume": values},
        source={"path": "x.nii.gz"},
    )


def make_cache(root: Path) -> Cache:
    writer = CacheWriter(root, {"spacing_mm": 1.0}, "abc")
    study = CachedStudy(
        id="d_p",
        dataset="d",
        patient="p",
        session="",
        split="train",
        target_class="HGG",
        shape=SHAPE,
        affine=(
            (1.0, 0.0, 0.0, 5.0),
            (0.0, 1.0, 0.0, 6.0),
            (0.0, 0.0, 1.0, 7.0),
            (0.0, 0.0, 0.0, 1.0),
        ),
        box_start=(1, 2, 3),
        box_stop=(19, 11, 24),
        full_shape=(30, 30, 30),
        scans=(stored(root, "t1", VOXELS), stored(root, "t2", VOXELS, 0.5, 10.0)),
        label=stored(root, "label", LABEL),
    )
    writer.commit([study], ("t1", "t2"), 1.0, rejected=2)
    return Cache.open(root)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"))


def padded(image: np.ndarray, start: tuple, size: tuple, outside: float) -> np.ndarray:
    crop = np.full(size, outside, np.float32)
    for index in np.ndindex(*size):
        place = tuple(a + b for a, b in zip(start, index, strict=True))
        if all(0 <= p < n for p, n in zip(place, image.shape, strict=True)):
            crop[index] = image[place]
    return crop


starts = st.tuples(*(st.integers(-8, n + 3) for n in SHAPE))
sizes = st.tuples(*(st.integers(1, 6) for _ in SHAPE))


@settings(max_examples=60, deadline=None)
@given(start=starts, size=sizes)
def test_a_crop_is_the_padded_slice_wherever_it_starts(
    cache: Cache, start: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    study = cache.studies[0]
    crop = cache.read_crop(study, study.scan("t2"), start, size)
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, padded(VOXELS * 0.5 + 10, start, size, -7.0))
    label = cache.read_label_crop(study, start, size)
    np.testing.assert_array_equal(label, padded(LABEL, start, size, 0))


def test_a_crop_larger_than_the_volume_is_padded(cache: Cache) -> None:
    study = cache.studies[0]
    crop = cache.read_crop(study, study.scan("t1"), (-2, -2, -2), (32, 32, 32))
    np.testing.assert_array_equal(crop[2:20, 2:11, 2:23], VOXELS)
    assert (crop == -7).sum() == 32**3 - VOXELS.size + (VOXELS == -7).sum()


def test_unit_crops_are_clipped_and_scaled_at_the_percentiles(cache: Cache) -> None:
    study = cache.studies[0]
    # Percentiles of this fixture: "1" is 20, "99" is 100; "5" is 40, "95" is 80.
    assert study.scan("t1").bounds(Clip()) == (20.0, 100.0)
    crop = cache.read_unit_crop(study, study.scan("t1"), (0, 0, 0), SHAPE, Clip())
    np.testing.assert_allclose(crop, np.clip((VOXELS - 20) / 80, 0, 1), atol=1e-6)
    crop = cache.read_unit_crop(study, study.scan("t2"), (0, 0, 0), SHAPE, Clip(5, 95, "volume"))
    np.testing.assert_allclose(crop, np.clip((VOXELS * 0.5 + 10 - 40) / 40, 0, 1), atol=1e-6)


def test_outside_the_volume_a_unit_crop_is_zero(cache: Cache) -> None:
    study = cache.studies[0]
    crop = cache.read_unit_crop(study, study.scan("t1"), (-4, 0, 0), (4, 4, 4), Clip())
    assert (crop == 0).all()


def test_equal_percentiles_make_a_binary_crop(tmp_path: Path) -> None:
    cache = make_cache(tmp_path)
    study = cache.studies[0]
    scan = study.scan("t1")
    scan.percentiles["foreground"].update({"1": 100.0, "99": 100.0})
    crop = cache.read_unit_crop(study, scan, (-1, 0, 0), (19, 9, 21), Clip())
    np.testing.assert_array_equal(crop[1:], (VOXELS >= 100).astype(np.float32))
    assert (crop[0] == 0).all()


@pytest.mark.parametrize("clip", [{"lower": 3.0}, {"upper": 90.0}, {"lower": 99.0, "upper": 1.0}])
def test_a_clip_that_no_cache_stores_is_refused(clip: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"choose from 0, 0.5, 1|must be below"):
        Clip(**clip)


def test_a_cache_survives_pickling(cache: Cache) -> None:
    copy = pickle.loads(pickle.dumps(cache))
    assert copy == cache
    study = copy.studies[0]
    crop = copy.read_crop(study, study.scan("t1"), (0, 0, 0), SHAPE)
    np.testing.assert_array_equal(crop, VOXELS)


def test_facts_of_the_index_come_back(cache: Cache) -> None:
    study = cache.studies[0]
    assert (study.modalities, study.split, study.target_class) == (("t1", "t2"), "train", "HGG")
    assert (cache.spacing_mm, cache.rejected, cache.modalities) == (1.0, 2, ("t1", "t2"))
    assert study_from_json(json.loads(json.dumps(study_to_json(study)))) == study
    with pytest.raises(KeyError, match="has no 'adc', only t1, t2"):
        study.scan("adc")


def test_any_flipped_byte_is_noticed_at_every_read(tmp_path: Path) -> None:
    cache = make_cache(tmp_path)
    study = cache.studies[0]
    scan = study.scan("t1")
    path = tmp_path / scan.file
    frame = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.choice(len(frame), 40, replace=False):
        damaged = bytearray(frame)
        damaged[place] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedFrameError, match=r"t1.b2nd: its bytes are not those"):
            cache.read_crop(study, scan, (0, 0, 0), (4, 4, 4))
        with pytest.raises(DamagedFrameError):
            cache.read_unit_crop(study, scan, (100, 0, 0), (4, 4, 4), Clip())
    path.write_bytes(frame)
    cache.read_crop(study, scan, (0, 0, 0), (4, 4, 4))


def test_missing_and_truncated_frames_are_noticed(tmp_path: Path) -> None:
    cache = make_cache(tmp_path)
    study = cache.studies[0]
    path = tmp_path / "frames/d_p/label.b2nd"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFrameError, match="delete the file and run 'brainmvp prepare'"):
        cache.read_label_crop(study, (0, 0, 0), (4, 4, 4))
    path.unlink()
    with pytest.raises(DamagedFrameError, match="cannot be read"):
        cache.read_label_crop(study, (0, 0, 0), (4, 4, 4))


def test_a_folder_without_index_is_no_cache(tmp_path: Path) -> None:
    make_cache(tmp_path)
    (tmp_path / "index.json").unlink()
    with pytest.raises(CacheError, match=r"is not a finished cache.*brainmvp prepare"):
        Cache.open(tmp_path)
    with pytest.raises(CacheError, match="is not a finished cache"):
        Cache.open(tmp_path / "nowhere")


def test_a_broken_or_foreign_index_is_refused(tmp_path: Path) -> None:
    make_cache(tmp_path)
    index = tmp_path / "index.json"
    index.write_text(index.read_text().replace('"format": 2', '"format": 99'))
    with pytest.raises(CacheError, match="has format 99, this version reads 1"):
        Cache.open(tmp_path)
    index.write_text(index.read_text()[:100])
    with pytest.raises(CacheError, match=r"index.json cannot be read"):
        Cache.open(tmp_path)


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    make_cache(tmp_path)
    assert Cache.open(tmp_path, "abc").recipe == {"spacing_mm": 1.0}
    with pytest.raises(CacheError, match=r"made by recipe abc, wanted is xyz.*\"spacing_mm\": 1.0"):
        Cache.open(tmp_path, "xyz")


def test_a_study_without_label_says_so(tmp_path: Path) -> None:
    cache = make_cache(tmp_path)
    plain = study_to_json(cache.studies[0])
    study = study_from_json({**plain, "label": None})
    with pytest.raises(CacheError, match="'d_p' has no label"):
        cache.read_label_crop(study, (0, 0, 0), (4, 4, 4))
