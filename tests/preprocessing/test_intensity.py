import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_lightning.preprocessing.intensity import (
    Quantised,
    all_percentiles,
    count_levels,
    quantise,
)
from brainmvp_lightning.volumes.records import PERCENTILE_KEYS, PERCENTILES

SHAPE = (5, 6, 7)
EVERYWHERE = np.ones(SHAPE, np.bool_)


def back(stored: Quantised) -> np.ndarray:
    return stored.array * np.float64(stored.slope) + stored.intercept


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.int16, -32768, 32767),
        (np.uint8, 0, 256),
        (np.uint16, 20_000, 60_000),
        (np.int32, 1_000_000, 1_060_000),
        (np.float32, 0, 4000),
        (np.int64, -5, 5),
    ],
)
def test_whole_numbers_are_kept_without_loss(dtype: type, low: int, high: int) -> None:
    image = np.random.default_rng(0).integers(low, high, SHAPE).astype(dtype)
    stored = quantise(image, 0.5, 3.0, EVERYWHERE)
    assert stored.array.dtype == np.int16
    assert stored.error == 0
    np.testing.assert_array_equal(back(stored), image * 0.5 + 3.0)


def test_the_step_is_that_of_the_formula() -> None:
    # 1001 values from 0 to 0.5: 1st percentile 0.005, 99th 0.495; the range needs 0.5 / 65534.
    image = np.linspace(0, 0.5, 1001, dtype=np.float32).reshape(7, 11, 13)
    stored = quantise(image, 1.0, 0.0, np.ones(image.shape, np.bool_))
    assert stored.slope == pytest.approx(0.49 / 4096, rel=1e-4)
    assert stored.error == stored.slope / 2


def test_an_outlier_makes_the_range_decide() -> None:
    image = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    image[0, 0, 0] = 1000
    stored = quantise(image, 1.0, 0.0, EVERYWHERE)
    assert stored.slope == pytest.approx((1000 - image.min()) / 65534)
    assert np.abs(back(stored) - image).max() <= stored.error * 1.01


@pytest.mark.parametrize("value", [0.5, -1e-3, 1e30])
def test_one_fraction_everywhere_is_kept_without_loss(value: float) -> None:
    image = np.full(SHAPE, value, np.float32)
    stored = quantise(image, 1.0, 0.0, EVERYWHERE)
    assert (stored.array.dtype.name, stored.error) == ("int16", 0)
    np.testing.assert_array_equal(back(stored), image)
    assert set(all_percentiles(stored, EVERYWHERE)["volume"].values()) == {float(image[0, 0, 0])}


@pytest.mark.parametrize(("high", "is_lossless"), [(65534, True), (65535, False)])
def test_whole_numbers_share_the_range_of_steps(high: int, is_lossless: bool) -> None:
    image = np.linspace(0, high, 210).astype(np.uint16).reshape(SHAPE)
    stored = quantise(image, 1.0, 0.0, EVERYWHERE)
    assert (stored.error == 0) == is_lossless
    assert np.abs(back(stored) - image).max() <= stored.error * 1.01


@settings(max_examples=50, deadline=None)
@given(
    offset=st.floats(-1e4, 1e4),
    scale=st.floats(1e-3, 1e4),
    seed=st.integers(0, 99),
)
def test_the_error_stays_within_its_bound_and_zero_stays_zero(
    offset: float, scale: float, seed: int
) -> None:
    image = (np.random.default_rng(seed).normal(0, scale, SHAPE) + offset).astype(np.float32)
    image[:2] = 0
    stored = quantise(image, 1.0, 0.0, image != 0)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(image).max()
    assert np.abs(back(stored) - image).max() <= stored.error * 1.01 + rounding
    assert (back(stored)[:2] == 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), spread=st.sampled_from([1, 3, 200, 32767]))
def test_percentiles_equal_those_of_numpy(seed: int, spread: int) -> None:
    generator = np.random.default_rng(seed)
    array = generator.integers(-spread - 1, spread + 1, SHAPE).astype(np.int16)
    mask = generator.random(SHAPE) < 0.5
    mask[0, 0, 0] = True
    found = all_percentiles(Quantised(array, 0.25, -3.0, 0.0), mask)
    for region, values in (("foreground", array[mask]), ("volume", array)):
        expected = np.percentile(values * 0.25 - 3.0, PERCENTILES)
        np.testing.assert_allclose([found[region][key] for key in PERCENTILE_KEYS], expected)


def test_a_flat_background_need_not_be_counted() -> None:
    array = np.full(SHAPE, -50, np.int16)
    array[1:3, 2:5, 3:6] = np.random.default_rng(0).integers(-40, 900, (2, 3, 3))
    stored, mask = Quantised(array, 0.5, 1.0, 0.0), array != -50
    assert all_percentiles(stored, mask, is_flat=True) == all_percentiles(stored, mask)
    everything = Quantised(array[1:3, 2:5, 3:6], 0.5, 1.0, 0.0)
    full = np.ones((2, 3, 3), np.bool_)
    found = all_percentiles(everything, full, is_flat=True)
    assert found["volume"] == found["foreground"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_levels_are_counted_from_the_smallest(dtype: type) -> None:
    limits = np.iinfo(dtype)
    integers = np.array([limits.max, limits.min, limits.max], dtype)
    first, counts = count_levels(integers)
    assert (first, len(counts), counts[0], counts[-1]) == (limits.min, 2**limits.bits, 1, 2)
    assert count_levels(integers[:0])[1].size == 0


def test_many_levels_are_counted_in_pieces() -> None:
    integers = np.random.default_rng(0).integers(-9, 9, 2**17 + 5).astype(np.int16)
    first, counts = count_levels(integers)
    np.testing.assert_array_equal(counts, np.bincount(integers - first))


def test_a_large_volume_is_sampled_for_the_step_and_kept_within_its_error() -> None:
    image = np.random.default_rng(0).normal(500, 100, (80, 90, 100)).astype(np.float32)
    mask = image > 0
    expected = np.diff(np.percentile(image, (1, 99)))[0] / 4096
    for way in (image, image.copy("F")):
        stored = quantise(way, 1.0, 0.0, mask)
        assert stored.slope == pytest.approx(expected, rel=0.01)
        assert stored.array.flags.c_contiguous
        assert np.abs(back(stored) - image).max() <= stored.error * 1.01


def test_a_foreground_that_the_sample_misses_is_found() -> None:
    image = np.zeros((80, 90, 100), np.float32)
    image[0, 0, :2] = (0.25, 0.75)
    stored = quantise(image, 1.0, 0.0, image != 0)
    assert stored.slope == pytest.approx(0.49 / 4096, rel=1e-3)
