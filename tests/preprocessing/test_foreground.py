import numpy as np
import pytest

from brainmvp_lightning.preprocessing.foreground import (
    Foreground,
    find_foreground,
    foreground_box,
    head_threshold,
    join_boxes,
)
from brainmvp_lightning.preprocessing.recipe import ForegroundRule
from tests.volumes.images import head


def noisy_head() -> tuple[np.ndarray, np.ndarray]:
    """Air with noise of 10, a head of 300, dark tissue of 80 within it."""
    generator = np.random.default_rng(0)
    shape = (40, 40, 40)
    signal = np.zeros(shape)
    signal[8:32, 8:32, 8:32] = 300
    signal[16:24, 16:24, 16:24] = 80
    real, imaginary = generator.normal(0, 10, (2, *shape))
    return np.hypot(signal + real, imaginary).astype(np.float32), signal > 0


def test_a_flat_background_leaves_exactly_the_rest() -> None:
    image = head((12, 14, 10))
    found = find_foreground(image)
    assert found.is_flat
    assert found.background == 0
    np.testing.assert_array_equal(found.mask, image > 0)
    assert foreground_box(found) == ((2, 2, 2), (10, 12, 8))


def test_a_flat_background_need_not_be_zero() -> None:
    found = find_foreground(head().astype(np.float32) - 50.5)
    assert (found.background, found.is_flat) == (-50.5, True)


def test_negative_intensities_belong_to_the_head() -> None:
    image = head((12, 14, 10)).astype(np.float32)
    image[image > 0] -= 150  # as after z-scoring inside a mask
    assert np.array_equal(find_foreground(image).mask, image != 0)


def test_noisy_air_is_separated_and_dark_tissue_kept() -> None:
    image, truth = noisy_head()
    found = find_foreground(image)
    assert not found.is_flat
    assert 30 < head_threshold(image) < 60
    assert np.count_nonzero(found.mask != truth) < 0.01 * image.size
    assert found.mask[16:24, 16:24, 16:24].mean() > 0.98
    assert foreground_box(found) == ((8, 8, 8), (32, 32, 32))


def test_the_rule_can_be_forced() -> None:
    image, _ = noisy_head()
    assert find_foreground(image, "nonzero").mask.mean() > 0.999
    assert not find_foreground(head(), "threshold").is_flat


def test_zero_is_the_background_of_noisy_air_or_what_comes_nearest() -> None:
    image, _ = noisy_head()
    assert find_foreground(image + 20).background == pytest.approx(20, abs=1)
    assert find_foreground(image - 20).background == 0


def test_no_foreground_no_box() -> None:
    mask = np.zeros((4, 4, 4), np.bool_)
    assert foreground_box(Foreground(mask, 0, is_flat=True)) is None


def test_boxes_are_joined_and_widened_within_the_volume() -> None:
    boxes = [((2, 3, 4), (5, 6, 7)), ((1, 4, 4), (4, 9, 6))]
    assert join_boxes(boxes, 0, (10, 10, 10)) == ((1, 3, 4), (5, 9, 7))
    assert join_boxes(boxes, 2, (10, 10, 10)) == ((0, 1, 2), (7, 10, 9))


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("rule", ["auto", "nonzero", "threshold"])
def test_zeros_that_are_left_out_count_all_the_same(dtype: type, rule: ForegroundRule) -> None:
    noisy, _ = noisy_head()
    for image in (head((12, 14, 10)).astype(dtype), noisy.clip(0, 255).astype(dtype)):
        whole = np.pad(image, 4)
        part = np.pad(image, 1)
        expected = find_foreground(whole, rule)
        found = find_foreground(part, rule, num_outside=whole.size - part.size)
        assert (found.background, found.is_flat) == (expected.background, expected.is_flat)
        np.testing.assert_array_equal(found.mask, expected.mask[3:-3, 3:-3, 3:-3])
        assert foreground_box(expected) is not None
        start, stop = foreground_box(found, whole.shape) or ((0, 0, 0), (0, 0, 0))
        assert (tuple(np.add(start, 3)), tuple(np.add(stop, 3))) == foreground_box(expected)


def test_the_head_does_not_depend_on_the_order_in_memory() -> None:
    image, _ = noisy_head()
    expected = find_foreground(image)
    for turned, back in ((image[::-1, :, ::-1], np.s_[::-1, :, ::-1]), (image.copy("F"), ...)):
        found = find_foreground(turned)
        np.testing.assert_array_equal(found.mask[back], expected.mask)
    assert head_threshold(image[::-1, ::-1, ::-1]) == head_threshold(image)


def test_slices_of_more_than_255_voxels_are_counted_right() -> None:
    mask = np.ones((300, 5, 270), np.bool_)
    mask[:2] = mask[:, :, -1] = False
    for way in (mask, mask[::-1, :, ::-1][::-1, :, ::-1], mask.copy("F")):
        assert foreground_box(Foreground(way, 0, is_flat=False)) == ((2, 0, 0), (300, 5, 269))
