from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from brainmvp_lightning.preprocessing.geometry import to_ras
from brainmvp_lightning.preprocessing.trimming import as_it_is, trim
from brainmvp_lightning.volumes.nifti import Volume

SHAPE = (20, 22, 24)


def bare_brain(dtype: type = np.int16) -> np.ndarray:
    """A block from 5 to 12, 6 to 10, 0 to 9."""
    image = np.zeros(SHAPE, dtype)
    image[5:12, 6:10, 0:9] = np.random.default_rng(0).integers(1, 99, (7, 4, 9))
    return image


def affine_of(flips: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(flips) * np.array([1.0, 2.0, 3.0]))[:, order]
    affine[:3, 3] = (4, 5, 6)
    return affine


@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("memory", ["F", "C"])
def test_a_part_and_zeros_around_it_are_the_scan(
    flips: tuple[int, ...], order: tuple[int, ...], memory: str
) -> None:
    volume = Volume(bare_brain().copy(order=memory), affine_of(flips, order))  # type: ignore[call-overload]
    part = trim(volume)
    assert sorted(part.volume.array.shape) == [6, 9, 10]  # 4, 7 and 9 with a layer of zeros
    turned, affine = to_ras(volume.array, volume.affine)
    assert part.full_shape == turned.shape
    assert part.num_outside == np.prod(SHAPE) - 6 * 9 * 10
    np.testing.assert_allclose(part.full_affine, affine)
    np.testing.assert_array_equal(part.whole().volume.array, turned)
    np.testing.assert_allclose(part.whole().volume.affine, affine)


def test_floats_are_trimmed_to_what_is_not_zero() -> None:
    image = bare_brain(np.float32) / 100
    image[19, 0, 0] = -1e-30
    part = trim(Volume(image, np.eye(4)))
    assert part.start == (4, 0, 0)
    np.testing.assert_array_equal(part.whole().volume.array, image)


@pytest.mark.parametrize("kind", ["full", "empty", "offset"])
def test_a_scan_that_cannot_be_trimmed_stays(kind: str) -> None:
    image = {"full": bare_brain() + np.int16(1), "empty": np.zeros(SHAPE, np.int16)}
    volume = Volume(image.get(kind, bare_brain()), np.eye(4))
    if kind == "offset":  # a stored 0 is no real 0
        volume = replace(volume, intercept=5.0)
    part = trim(volume)
    assert (part.num_outside, part.start, part.full_shape) == (0, (0, 0, 0), SHAPE)
    assert part.whole() is part
    assert np.shares_memory(part.volume.array, volume.array)


def test_a_scan_can_be_held_as_it_is() -> None:
    volume = Volume(bare_brain(), affine_of((-1, 1, 1), (2, 1, 0)))
    part = as_it_is(volume)
    assert part.volume is volume
    assert part.num_outside == 0
