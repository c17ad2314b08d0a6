"""How well two images of any contrast agree in place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.volumes.nifti import Volume
from brainmvp_lightning.volumes.transform import Affine

BINS = 32
MAX_SAMPLES = 60_000
MIN_SHARE = 0.1  # of the samples must lie in both fields of view


def mutual_information(fixed: Volume, moving: Volume, matrix: Affine) -> float:
    """Return the normalised mutual information of two images, from 1 (unrelated) to 2 (equal).

    It is 0 if the fields of view hardly touch.

    Args:
        fixed: The image that stays.
        moving: The image that is moved.
        matrix: World of `moving` to world of `fixed`, mm, 4 x 4.

    Source:
        Studholme et al., "An overlap invariant entropy measure of 3D medical image alignment",
        1999.
    """
    step = max(1, round((fixed.array.size / MAX_SAMPLES) ** (1 / 3)))
    axes = [np.arange(step // 2, extent, step) for extent in fixed.shape]
    places = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])  # 3 n
    to_moving = np.linalg.inv(matrix @ moving.affine) @ fixed.affine
    positions = to_moving[:3, :3] @ places + to_moving[:3, 3:]
    limits = np.asarray(moving.shape)[:, None] - 1
    inside = np.all((positions >= 0) & (positions <= limits), axis=0)
    if inside.mean() < MIN_SHARE and inside.sum() < MIN_SHARE * _num_samples(fixed, moving, step):
        return 0.0
    first = fixed.array[tuple(places[:, inside])].astype(np.float32)
    second = ndimage.map_coordinates(
        moving.array.astype(np.float32, copy=False), positions[:, inside], order=1, mode="nearest"
    )
    return _normalised(first, second)


def _num_samples(fixed: Volume, moving: Volume, step: int) -> float:
    """Return how many samples of the fixed image a scan in the right place would cover."""
    edge = abs(np.linalg.det(fixed.affine[:3, :3])) * step**3
    return float(moving.array.size * abs(np.linalg.det(moving.affine[:3, :3])) / edge)


def _normalised(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    counts, _, _ = np.histogram2d(_levels(first), _levels(second), BINS, [[0, 1], [0, 1]])
    joint = counts / counts.sum()
    both = _entropy(joint)
    if both == 0:
        return 0.0
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / both


def _levels(values: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.percentile(values, (1, 99))
    scaled: NDArray[np.float32] = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return scaled


def _entropy(shares: NDArray[np.float64]) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())
