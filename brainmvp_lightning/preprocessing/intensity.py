"""Intensities as small integers, and their percentiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.records import PERCENTILE_KEYS, PERCENTILES

INT16_LEVELS = 65534  # from -32767 to 32767
FINE_LEVELS = 2**13  # steps between the 1st and 99th percentile


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

    Whole numbers that fit are kept without loss. Otherwise a step is 1/8192 of the distance
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
    real = image.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    low, high = np.percentile(real[foreground], (1, 99))
    smallest, largest = float(real.min()), float(real.max())
    step = max(float(high - low) / FINE_LEVELS, (largest - smallest) / INT16_LEVELS)
    centre = 0.0 if max(-smallest, largest) <= 32767 * step else (smallest + largest) / 2
    offset = int(np.rint(centre / step))
    levels = np.rint((real - np.float32(offset * step)) / np.float32(step))
    array = np.clip(levels, -32767, 32767).astype(np.int16)
    return Quantised(array, step, offset * step, step / 2)


def _whole_numbers(image: NDArray[Any]) -> tuple[NDArray[np.int16], int] | None:
    smallest, largest = image.min(), image.max()
    if float(largest) - float(smallest) > INT16_LEVELS:
        return None
    if image.dtype.kind == "f" and not np.array_equal(image, np.rint(image)):
        return None
    low, high = int(smallest), int(largest)
    if low >= -32768 and high <= 32767:
        return np.ascontiguousarray(image, np.int16), 0
    offset = low + 32768
    return (image.astype(np.int64) - offset).astype(np.int16), offset


def all_percentiles(
    stored: Quantised, foreground: NDArray[np.bool_]
) -> dict[str, dict[str, float]]:
    """Return the percentiles of the foreground and of the whole volume, in real units, exactly.

    They equal ``numpy.percentile`` of the stored intensities (linear between neighbours).
    """
    levels = stored.array.view(np.uint16) ^ np.uint16(0x8000)  # order-preserving: -32768 -> 0
    volume = np.bincount(levels.ravel(), minlength=2**16)
    inside = np.bincount(levels[foreground], minlength=2**16)
    return {
        "foreground": _from_histogram(inside, stored),
        "volume": _from_histogram(volume, stored),
    }


def _from_histogram(counts: NDArray[np.intp], stored: Quantised) -> dict[str, float]:
    cumulative = np.cumsum(counts)
    rank = np.asarray(PERCENTILES) / 100 * (cumulative[-1] - 1)
    lower = np.searchsorted(cumulative, np.floor(rank), side="right")
    upper = np.searchsorted(cumulative, np.ceil(rank), side="right")
    level = lower + (rank - np.floor(rank)) * (upper - lower) - 32768
    real = level * stored.slope + stored.intercept
    return {key: float(value) for key, value in zip(PERCENTILE_KEYS, real, strict=True)}
