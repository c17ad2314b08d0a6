"""Where in a study the crops of a visit lie: pure functions of its counted randomness."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.batches import Size
from brainmvp_lightning.randomness import host_generator
from brainmvp_lightning.volumes.blocks import BLOCK_EDGE, decode_blocks
from brainmvp_lightning.volumes.cache import CachedStudy

CropCentre = Literal["box", "foreground"] | float


def check_centre(centre: CropCentre) -> None:
    """Refuse what is no place.

    Raises:
        ValueError: If it is neither a name nor a probability.
    """
    if isinstance(centre, str):
        if centre not in ("box", "foreground"):
            raise ValueError(f"crop_centre must be box, foreground or a number, got {centre!r}")
    elif not 0.0 <= centre <= 1.0:
        raise ValueError(f"crop_centre is the probability {centre}; it must be from 0 to 1")


def place_crops(
    key: int, study: CachedStudy, size: Size, centre: CropCentre, num_crops: int
) -> list[Size]:
    """Draw the first voxels of the crops of a visit.

    Args:
        key: Key of the visit.
        study: Where they lie.
        size: Voxels of a crop; where the study is smaller, the crop is centred on it.
        centre: ``"box"`` lets a crop lie anywhere in the stored box with equal probability,
            ``"foreground"`` centres it on a voxel of the head (to a block of 8 voxels), a number
            does so with this probability and else centres it on a block without head. A centred
            crop is moved by as much as it takes to stay inside the box. Where the study has no such
            block, ``"box"`` counts.
        num_crops: How many.

    Source:
        BrainMVP, supplement B.1: crops centred on foreground or background.
    """
    blocks = None if centre == "box" else _head_blocks(study)
    starts = []
    for number in range(num_crops):
        generator = host_generator(key, "place", number)
        point = _draw_point(generator, study.shape, blocks, centre)
        x, y, z = (
            _start(generator, edge, side, None if point is None else int(point[axis]))
            for axis, (edge, side) in enumerate(zip(study.shape, size, strict=True))
        )
        starts.append((x, y, z))
    return starts


def _head_blocks(study: CachedStudy) -> NDArray[np.bool_]:
    grid = np.zeros([-(-edge // BLOCK_EDGE) for edge in study.shape], np.bool_)
    grid[tuple(decode_blocks(study.head_blocks, study.shape).T)] = True
    return grid


def _draw_point(
    generator: np.random.Generator,
    shape: Size,
    is_head: NDArray[np.bool_] | None,
    centre: CropCentre,
) -> NDArray[np.int64] | None:
    if is_head is None:
        return None
    wants_head = centre == "foreground" or generator.random() < float(centre)
    blocks = np.argwhere(is_head == wants_head)
    if len(blocks) == 0 or not is_head.any():  # nothing of the kind, or nobody noted where it is
        return None
    corner = blocks[generator.integers(len(blocks))] * BLOCK_EDGE
    extent = np.minimum(BLOCK_EDGE, np.asarray(shape) - corner)
    return np.asarray(corner + generator.integers(extent), np.int64)


def _start(generator: np.random.Generator, edge: int, side: int, centre: int | None) -> int:
    if edge <= side:
        return -((side - edge) // 2)
    if centre is None:
        return int(generator.integers(0, edge - side + 1))
    return min(max(0, centre - side // 2), edge - side)
