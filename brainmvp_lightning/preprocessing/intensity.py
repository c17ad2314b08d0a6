"""Intensities as small integers, and their percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.layout import in_c_order, memory_order
from brainmvp_lightning.volumes.records import PERCENTILE_KEYS, PERCENTILES

# From -32767 to 32767, the same way up and down from 0 for steps. Whole numbers share this limit:
# a range of 65535 would just fit into 16 bits, yet it is stored in steps, not without loss.
INT16_LEVELS = 65534
MAX_WHOLE = 2**62  # so that all sums fit into 64 bits
FINE_LEVELS = 2**12  # steps between the 1st and 99th percentile
MAX_SAMPLE = 2**18  # voxels that the size of a step is estimated from

_COUNTED_AT_ONCE = 2**17  # integers, so that their wide copy stays in the cache


@dataclass(frozen=True)
class Quantised:
    """A volume as int16; real intensity = `array` * `slope` + `intercept`.

    Args:
        array: ``x y z``, int16.
        slope: Real units per step.
        intercept: Real value of 0.
        error: Largest possible difference to the input, in real units; 0 if it is lossless.
    """

    array: NDArray[np.int16]
    slope: float
    intercept: float
    error: float


def quantise(
    image: NDArray[Any], slope: float, intercept: float, foreground: NDArray[np.bool_]
) -> Quantised:
    """Store intensities as int16.

    Whole numbers that fit are kept without loss. Otherwise a step is 1/4096 of the distance
    between the 1st and 99th percentile of the foreground, or as much as the full range needs; a
    value of exactly 0 stays exactly 0.

    Args:
        image: ``x y z``, finite numbers in the file's scale.
        slope: Real units per unit of `image`.
        intercept: Real value of a 0 in `image`.
        foreground: Where the percentiles are taken, not empty.
    """
    lossless = _whole_numbers(image)
    if lossless is not None:
        array, offset = lossless
        return Quantised(array, slope, intercept + offset * slope, 0.0)
    real = image.astype(np.float32, copy=False)
    if (slope, intercept) != (1.0, 0.0):
        real = real * np.float32(slope) + np.float32(intercept)
    smallest, largest = float(real.min()), float(real.max())
    if smallest == largest:  # no range to divide into steps
        return Quantised(np.zeros(real.shape, np.int16), 1.0, smallest, 0.0)
    low, high = np.percentile(_thinned(real, foreground), (1, 99))
    step = max(float(high - low) / FINE_LEVELS, (largest - smallest) / INT16_LEVELS)
    centre = 0.0 if max(-smallest, largest) <= 32767 * step else (smallest + largest) / 2
    offset = int(np.rint(centre / step))
    return Quantised(_levels(real, step, offset), step, offset * step, step / 2)


def _thinned(real: NDArray[np.float32], foreground: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return intensities of the foreground, of large volumes those at the points of a lattice."""
    stride = max(1, round((real.size / MAX_SAMPLE) ** (1 / 3)))
    lattice = (slice(stride // 2, None, stride),) * 3
    thinned: NDArray[np.float32] = real[lattice][foreground[lattice]]
    return thinned if thinned.size else real[foreground]


def _levels(real: NDArray[np.float32], step: float, offset: int) -> NDArray[np.int16]:
    levels: NDArray[np.int16] = np.empty_like(real, np.int16)
    order = memory_order(real)
    # Plane by plane, so that intermediate results stay in the cache.
    for plane, target in zip(real.transpose(order), levels.transpose(order), strict=True):
        values = plane - np.float32(offset * step) if offset else plane
        values = values / np.float32(step)
        np.rint(values, out=values)
        np.clip(values, -32767, 32767, out=values)
        target[...] = values
    return in_c_order(levels)


def _whole_numbers(image: NDArray[Any]) -> tuple[NDArray[np.int16], int] | None:
    if image.dtype.kind == "f" and not _is_whole(image):
        return None
    if image.dtype.itemsize <= 2:
        image = in_c_order(image)  # all that follows is faster there
    low, high = int(image.min()), int(image.max())
    if high - low > INT16_LEVELS or max(-low, high) > MAX_WHOLE:
        return None
    if low >= -32768 and high <= 32767:
        return in_c_order(image.astype(np.int16, copy=False)), 0
    offset = low + 32768
    return in_c_order((image.astype(np.int64) - offset).astype(np.int16)), offset


def _is_whole(image: NDArray[Any]) -> bool:
    planes = image.transpose(memory_order(image))
    return all(np.array_equal(plane, np.rint(plane)) for plane in planes)


def all_percentiles(
    stored: Quantised, foreground: NDArray[np.bool_], *, is_flat: bool = False
) -> dict[str, dict[str, float]]:
    """Return the percentiles of the foreground and of the whole volume, in real units, exactly.

    They equal ``numpy.percentile`` of the stored intensities (linear between neighbours).

    Args:
        stored: Intensities.
        foreground: Not empty.
        is_flat: All voxels that are not foreground have one value, which saves counting them.
    """
    first, inside = count_levels(stored.array[foreground])
    num_others = stored.array.size - int(inside.sum())
    if is_flat and num_others:
        second = int(stored.array.flat[int(np.argmin(foreground))])
        outside = np.array([num_others], np.intp)
    else:
        second, outside = count_levels(stored.array[~foreground])
    start = min(first, second)
    stop = max(first + len(inside), second + len(outside))
    volume = np.zeros(stop - start, np.intp)
    volume[first - start : first - start + len(inside)] += inside
    volume[second - start : second - start + len(outside)] += outside
    return {
        "foreground": _real_percentiles(first, inside, stored),
        "volume": _real_percentiles(start, volume, stored),
    }


def _real_percentiles(first: int, counts: NDArray[np.intp], stored: Quantised) -> dict[str, float]:
    levels = np.arange(first, first + len(counts), dtype=np.float64)
    real = percentiles_of(levels, counts, PERCENTILES) * stored.slope + stored.intercept
    return {key: float(value) for key, value in zip(PERCENTILE_KEYS, real, strict=True)}


def count_levels(integers: NDArray[Any]) -> tuple[int, NDArray[np.intp]]:
    """Count how often each integer occurs.

    Args:
        integers: One axis, of 8 or 16 bits.

    Returns:
        The smallest integer, and the counts from it on; 0 and no counts if there are none.
    """
    if integers.size == 0:
        return 0, np.zeros(0, np.intp)
    first, last = int(integers.min()), int(integers.max())
    zero = min(first, 0)  # what is counted first: small positive numbers need not be shifted
    counts = np.zeros(last - zero + 1, np.intp)
    for begin in range(0, integers.size, _COUNTED_AT_ONCE):
        piece = integers[begin : begin + _COUNTED_AT_ONCE].astype(np.intp)
        found = np.bincount(piece - zero if zero else piece)
        counts[: len(found)] += found
    return first, counts[first - zero :]


def percentiles_of(
    values: NDArray[np.float64], counts: NDArray[np.intp], percentiles: Sequence[float]
) -> NDArray[np.float64]:
    """Return what ``numpy.percentile`` gives for values that occur several times each.

    Args:
        values: Ascending.
        counts: How often each occurs, in all at least once.
        percentiles: From 0 to 100.
    """
    cumulative = np.cumsum(counts)
    rank = np.asarray(percentiles) / 100 * (cumulative[-1] - 1)
    lower = values[np.searchsorted(cumulative, np.floor(rank), side="right")]
    upper = values[np.searchsorted(cumulative, np.ceil(rank), side="right")]
    between: NDArray[np.float64] = lower + (rank - np.floor(rank)) * (upper - lower)
    return between
