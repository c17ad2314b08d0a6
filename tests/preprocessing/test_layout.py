from itertools import permutations, product

import numpy as np
import pytest

from brainmvp_lightning.preprocessing.layout import (
    as_flat,
    forwards,
    in_c_order,
    memory_order,
)
from brainmvp_lightning.preprocessing.memory import keep_freed_memory

WAYS = [(order, flips) for order in permutations(range(3)) for flips in product((1, -1), repeat=3)]


def turned(order: tuple[int, ...], flips: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in memory order, seen with other axes and directions."""
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape).transpose(order)
    return array[tuple(slice(None, None, step) for step in flips)]


@pytest.mark.parametrize(("order", "flips"), WAYS)
def test_a_copy_in_c_order_holds_the_same(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    array = turned(order, flips, (5, 6, 7))
    copy = in_c_order(array)
    assert copy.flags.c_contiguous
    np.testing.assert_array_equal(copy, array)


def test_rows_at_distances_of_whole_pages_are_copied_alike() -> None:
    array = turned((2, 1, 0), (-1, 1, 1), (40, 32, 64))
    assert abs(array.strides[2]) % 4096 == 0
    np.testing.assert_array_equal(in_c_order(array), array)


def test_what_is_in_order_is_not_copied() -> None:
    array = np.zeros((3, 4, 5))
    assert np.shares_memory(in_c_order(array), array)


@pytest.mark.parametrize(("order", "flips"), WAYS)
def test_memory_is_walked_through_forwards(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    array = turned(order, flips, (5, 6, 7))
    ahead = array[forwards(array)]
    assert min(ahead.strides) > 0
    np.testing.assert_array_equal(ahead[forwards(array)], array)
    np.testing.assert_array_equal(as_flat(array), np.arange(array.size))
    assert np.shares_memory(as_flat(array), array)
    assert ahead.transpose(memory_order(array)).flags.c_contiguous


def test_keeping_memory_can_be_asked_for_twice() -> None:
    assert keep_freed_memory() is keep_freed_memory()
