"""Which voxels of a scan show the head (or the brain), and the box around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.geometry import Box
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
    image: NDArray[Any], rule: ForegroundRule = "auto", zero: float = 0.0
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
    """
    level = _flat_level(image)
    if rule == "nonzero":
        level = 0.0 if level is None else level
    if level is not None and rule != "threshold":
        return Foreground(image != level, level, is_flat=True)
    return Foreground(image > head_threshold(image), _clip_to(image, zero), is_flat=False)


def _clip_to(image: NDArray[Any], value: float) -> float:
    return min(max(value, float(image.min())), float(image.max()))


def _flat_level(image: NDArray[Any]) -> float | None:
    smallest, largest = float(image.min()), float(image.max())
    near = NEAR * (largest - smallest)
    for level in (0.0, smallest):
        at_level = np.count_nonzero(image == level)
        if at_level < FLAT_SHARE * image.size:
            continue
        close = np.count_nonzero((image > level) & (image <= level + near))
        if close <= NEAR_SHARE * at_level:
            return level
    return None


def head_threshold(image: NDArray[Any]) -> float:
    """Return a value between noisy air and the darkest tissue.

    It is a tenth of the way from the 2nd to the 98th percentile, but at least 3.5 times the noise
    (the most frequent intensity of the air, which one voxel of air in 450 exceeds), and never
    above Otsu's threshold, which alone would cut off dark tissue such as CSF in T1.

    Source:
        The tenth: Smith, "Fast robust automated brain extraction", 2002. Air follows a Rayleigh
        distribution, whose mode is the noise's standard deviation.
    """
    sample = image.ravel(order="K")[:: max(1, image.size // MAX_SAMPLE)].astype(np.float32)
    low, p2, p98, high = (float(value) for value in np.percentile(sample, (0, 2, 98, 99)))
    if high <= low:
        return low
    counts, edges = np.histogram(np.minimum(sample, high), BINS, (low, high))
    cut = _otsu_bin(counts)
    mode = float(edges[int(np.argmax(counts[: cut + 1]))])
    return min(float(edges[cut + 1]), max(p2 + 0.1 * (p98 - p2), 3.5 * mode))


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


def foreground_box(foreground: Foreground) -> Box | None:
    """Return start and stop of the smallest box around the foreground, or None if it is empty.

    Over noisy air, outer slices with less than half a percent of foreground do not count.
    """
    start, stop = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        counts = np.count_nonzero(foreground.mask, axis=others)
        area = foreground.mask.size / len(counts)
        enough = counts > (0 if foreground.is_flat else SLICE_SHARE * area)
        places = np.flatnonzero(enough)
        if places.size == 0:
            return None
        start.append(int(places[0]))
        stop.append(int(places[-1]) + 1)
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def join_boxes(boxes: Sequence[Box], margin: int, shape: Size) -> Box:
    """Return the box around all boxes, widened by `margin` voxels, within the volume."""
    start = np.maximum(np.min([box[0] for box in boxes], axis=0) - margin, 0)
    stop = np.minimum(np.max([box[1] for box in boxes], axis=0) + margin, shape)
    return (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))
