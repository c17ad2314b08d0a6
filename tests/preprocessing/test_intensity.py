import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_lightning.preprocessing.intensity import Quantised, all_percentiles, quantise
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
