from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from brainmvp_lightning.preprocessing.interpolation import oblique, separable
from brainmvp_lightning.preprocessing.recipe import Interpolation

BOX = ((1, 0, 2), (12, 60, 9))
STRAIGHT = np.array([[0.83, 0, 0, -0.4], [0, 0.11, 0, 0.1], [0, 0, 1.3, -1.2], [0, 0, 0, 1]])


def tilted() -> np.ndarray:
    c, s = np.cos(0.2), np.sin(0.2)
    matrix = np.eye(4)
    matrix[:2, :2] = [[c, -s], [s, c]]
    return matrix @ STRAIGHT


def expected(
    array: np.ndarray, matrix: np.ndarray, box: tuple, order: int, outside: float
) -> np.ndarray:
    """What scipy reads at the same places."""
    lines = [np.arange(start, stop) for start, stop in zip(*box, strict=True)]
    index = np.stack(np.meshgrid(*lines, indexing="ij"))
    places = np.tensordot(matrix[:3, :3], index, 1) + matrix[:3, 3].reshape(3, 1, 1, 1)
    values = ndimage.map_coordinates(array.astype(np.float64), places, order=order, mode="nearest")
    size = np.reshape(array.shape, (3, 1, 1, 1))
    values[((places < -0.5) | (places > size - 0.5)).any(axis=0)] = outside
    return values


def scan(order: tuple[int, ...], flips: tuple[int, ...], dtype: type) -> np.ndarray:
    """The same 10 x 9 x 11 numbers, lying in memory in another way."""
    numbers = np.random.default_rng(0).integers(0, 200, (10, 9, 11)).astype(dtype)
    directions = tuple(slice(None, None, step) for step in flips)
    packed = numbers[directions].transpose(order).copy()
    return packed.transpose(np.argsort(order))[directions]


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
def test_both_kernels_agree_with_scipy_however_a_scan_lies_in_memory(
    interpolation: Interpolation, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    array = scan(order, flips, np.int16)
    degree = 1 if interpolation == "linear" else 0
    for kernel, matrix in ((separable, STRAIGHT), (oblique, STRAIGHT), (oblique, tilted())):
        found = kernel(array, matrix, BOX, -7, interpolation)
        np.testing.assert_allclose(
            found, expected(array, matrix, BOX, degree, -7), rtol=1e-5, atol=1e-3
        )
        assert found.dtype == (np.float32 if interpolation == "linear" else np.int16)


@pytest.mark.parametrize("kernel", [separable, oblique])
def test_masks_stay_masks(kernel: object) -> None:
    mask = scan((2, 1, 0), (1, -1, 1), np.uint8) > 100
    found = kernel(mask, STRAIGHT, BOX, 0, "nearest")  # type: ignore[operator]
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, expected(mask, STRAIGHT, BOX, 0, 0))


@pytest.mark.parametrize("kernel", [separable, oblique])
def test_a_box_beyond_the_scan_is_outside(kernel: object) -> None:
    array = scan((0, 1, 2), (1, 1, 1), np.float32)
    found = kernel(array, STRAIGHT, ((40, 0, 0), (43, 4, 4)), 5, "linear")  # type: ignore[operator]
    assert found.shape == (3, 4, 4)
    assert (found == 5).all()


@pytest.mark.parametrize("kernel", [separable, oblique])
def test_a_box_has_the_values_of_the_whole(kernel: object) -> None:
    array = scan((2, 0, 1), (1, 1, -1), np.float32)
    whole = kernel(array, STRAIGHT, ((0, 0, 0), (13, 70, 10)), 5, "linear")  # type: ignore[operator]
    box = kernel(array, STRAIGHT, BOX, 5, "linear")  # type: ignore[operator]
    np.testing.assert_allclose(box, whole[1:12, 0:60, 2:9], atol=1e-4)
