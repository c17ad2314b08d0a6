"""Which voxels of a scan show the head (or the brain), and the box around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.geometry import Box, to_box
from brainmvp_lightning.preprocessing.intensity import count_levels, percentiles_of
from brainmvp_lightning.preprocessing.layout import as_flat, forwards, memory_order
from brainmvp_lightning.preprocessing.recipe import ForegroundRule
from brainmvp_lightning.volumes.records import Size

FLAT_SHARE = 0.1  # a background of one value fills at least this share of a volume
NEAR_SHARE = 0.1  # and has at most this share of its own size close above it: no noise
NEAR = 0.02  # of the intensity range, what "close" means
BINS = 512
MAX_SAMPLE = 1_000_000  # voxels that thresholds are estimated from
SLICE_SHARE = 0.005  # of a slice; less above a threshold is noise


@dataclass(frozen=True)
class Foreground:
    """What belongs to the head.

    Args:
        mask: ``x y z``, True in the head.
        background: Value of everything else: exact if flat, else real 0 or what is nearest to it.
        is_flat: The background is one value.
    """

    mask: NDArray[np.bool_]
    background: float
    is_flat: bool


def find_foreground(
    image: NDArray[Any], rule: ForegroundRule = "auto", zero: float = 0.0, num_outside: int = 0
) -> Foreground:
    """Separate head and background.

    ``auto`` takes the background for flat (skull-stripped or masked images) if 0, or else the
    smallest value, fills at least a tenth of the volume and hardly any voxel lies close above it;
    then everything of another value is foreground. Otherwise `head_threshold` separates noisy air
    from the head.

    Args:
        image: ``x y z``, finite.
        rule: ``auto``, ``nonzero`` or ``threshold``.
        zero: The number in `image` that stands for a real intensity of 0.
        num_outside: Further voxels of the scan, all 0, that `image` does not hold.
    """
    ahead = forwards(image)
    image = image[ahead]
    smallest, largest = float(image.min()), float(image.max())
    if num_outside:
        smallest, largest = min(smallest, 0.0), max(largest, 0.0)
    level = _flat_level(image, smallest, largest, num_outside)
    if rule == "nonzero":
        level = 0.0 if level is None else level
    if level is not None and rule != "threshold":
        mask = image != _as_number(image, level)
        return Foreground(mask[ahead], level, is_flat=True)
    threshold = head_threshold(image, num_outside)
    background = min(max(zero, smallest), largest)
    mask = image > _as_number(image, threshold)
    return Foreground(mask[ahead], background, is_flat=False)


def _flat_level(
    image: NDArray[Any], smallest: float, largest: float, num_outside: int
) -> float | None:
    near = NEAR * (largest - smallest)
    size = image.size + num_outside
    for level in (0.0, smallest):
        up_to_level = here = np.count_nonzero(image == _as_number(image, level))
        at_level = here + (num_outside if level == 0 else 0)
        if at_level < FLAT_SHARE * size:
            continue
        up_to_near = np.count_nonzero(image <= _as_number(image, level + near))
        if level != smallest:
            up_to_level = np.count_nonzero(image <= _as_number(image, level))
        if up_to_near - up_to_level <= NEAR_SHARE * at_level:
            return level
    return None


def _as_number(image: NDArray[Any], value: float) -> float | int:
    # An image of integers compared with a float would be converted as a whole; rounding down
    # changes neither `image > value` nor `image <= value`, and levels are whole numbers there.
    return math.floor(value) if image.dtype.kind in "iu" else value


def head_threshold(image: NDArray[Any], num_outside: int = 0) -> float:
    """Return a value between noisy air and the darkest tissue.

    It is a tenth of the way from the 2nd to the 98th percentile, but at least 3.5 times the noise
    (the most frequent intensity of the air, which one voxel of air in 450 exceeds), and never
    above Otsu's threshold, which alone would cut off dark tissue such as CSF in T1.

    Args:
        image: ``x y z``, finite.
        num_outside: Further voxels of the scan, all 0, that `image` does not hold.

    Source:
        The tenth: Smith, "Fast robust automated brain extraction", 2002. Air follows a Rayleigh
        distribution, whose mode is the noise's standard deviation.
    """
    step = max(1, (image.size + num_outside) // MAX_SAMPLE)
    values, counts = _sample_histogram(image, step, num_outside)
    low, p2, p98, high = map(float, percentiles_of(values, counts, (0, 2, 98, 99)))
    if high <= low:
        return low
    binned, edges = np.histogram(np.minimum(values, high), BINS, (low, high), weights=counts)
    cut = _otsu_bin(binned)
    mode = float(edges[int(np.argmax(binned[: cut + 1]))])
    return min(float(edges[cut + 1]), max(p2 + 0.1 * (p98 - p2), 3.5 * mode))


def _sample_histogram(
    image: NDArray[Any], step: int, num_outside: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the values of every `step`-th voxel, ascending, and how often each is counted."""
    sample = as_flat(image)[::step]
    if num_outside:
        sample = np.concatenate([sample, np.zeros(num_outside // step, image.dtype)])
    if image.dtype.kind in "iu" and image.dtype.itemsize <= 2:
        first, counts = count_levels(sample)
        return np.arange(first, first + len(counts), dtype=np.float64), counts
    return np.sort(sample.astype(np.float32)).astype(np.float64), np.ones(sample.size, np.intp)


def _otsu_bin(counts: NDArray[np.intp]) -> int:
    """Return the last bin of the lower class.

    Source:
        Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    bins = np.arange(len(counts))
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = total / below - (total[-1] - total) / above
        between = np.nan_to_num(below * above * gap**2)
    return int(np.argmax(between))


def foreground_box(foreground: Foreground, shape: Size | None = None) -> Box | None:
    """Return start and stop of the smallest box around the foreground, or None if it is empty.

    Over noisy air, outer slices with less than half a percent of foreground do not count.

    Args:
        foreground: Whole or in part.
        shape: Voxels of the whole, of which the mask may be a part.
    """
    extents = shape or foreground.mask.shape
    start, stop = [], []
    for axis, counts in enumerate(_counts_by_slice(foreground.mask)):
        area = np.prod(extents, dtype=np.float64) / extents[axis]
        places = np.flatnonzero(counts > (0 if foreground.is_flat else SLICE_SHARE * area))
        if places.size == 0:
            return None
        start.append(int(places[0]))
        stop.append(int(places[-1]) + 1)
    return to_box(start, stop)


def _counts_by_slice(mask: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Return for each axis how many voxels are True in each slice across it."""
    order, ahead = memory_order(mask), forwards(mask)
    ordered = mask[ahead].transpose(order).view(np.uint8)
    sheet, side = _sum_along(ordered, axis=0), _sum_along(ordered, axis=1)
    sums = (side.sum(axis=1), sheet.sum(axis=1), sheet.sum(axis=0))
    counts = dict(zip(order, sums, strict=True))
    return [counts[axis][ahead[axis]] for axis in range(3)]


def _sum_along(ones: NDArray[np.uint8], axis: Literal[0, 1]) -> NDArray[np.intp]:
    """Sum bytes of 0 and 1, 255 at a time: as many still fit into a byte."""
    total: NDArray[np.intp] = np.zeros(np.delete(ones.shape, axis), np.intp)
    for start in range(0, ones.shape[axis], 255):
        piece = ones[start : start + 255] if axis == 0 else ones[:, start : start + 255]
        total += np.add.reduce(piece, axis=axis, dtype=np.uint8)
    return total


def join_boxes(boxes: Sequence[Box], margin: int, shape: Size) -> Box:
    """Return the box around all boxes, widened by `margin` voxels, within the volume."""
    start = np.maximum(np.min([box[0] for box in boxes], axis=0) - margin, 0)
    stop = np.minimum(np.max([box[1] for box in boxes], axis=0) + margin, shape)
    return to_box(start, stop)
