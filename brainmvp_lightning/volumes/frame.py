"""One volume as one compressed blosc2 frame, of which any crop is decoded without the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import xxhash
from numpy.typing import NDArray

from brainmvp_lightning.volumes.errors import DamagedFrameError

# A process that decoded with two threads and then forks leaves children that hang for ever.
blosc2.set_nthreads(1)

BLOCK_EDGE = 16
CODEC = "blosc2 lz4 bitshuffle, blocks of 16"


def encode_frame(voxels: NDArray[Any], notes: dict[str, Any]) -> bytes:
    """Compress a volume.

    Args:
        voxels: ``x y z``, an integer type.
        notes: Small plain values stored inside the frame, so that a lone file explains itself.

    Returns:
        The same bytes for the same input.
    """
    parameters = blosc2.CParams(
        codec=blosc2.Codec.LZ4,
        clevel=5,
        filters=[blosc2.Filter.BITSHUFFLE],
        filters_meta=[0],
        nthreads=1,
    )
    array = blosc2.asarray(
        np.ascontiguousarray(voxels),
        chunks=voxels.shape,  # many small chunks make blosc2 rewrite the frame at every write
        blocks=tuple(min(BLOCK_EDGE, edge) for edge in voxels.shape),
        cparams=parameters,
    )
    for key, value in notes.items():
        array.schunk.vlmeta[key] = value
    return bytes(array.to_cframe())


def digest_of(frame: bytes) -> str:
    """Return the checksum of a frame; LZ4 alone decodes most flipped bits without complaint."""
    return xxhash.xxh3_64_hexdigest(frame)


def read_frame(path: Path, digest: str) -> bytes:
    """Read a whole frame and check it.

    Raises:
        DamagedFrameError: If the file is missing or not the one that was written.
    """
    try:
        frame = path.read_bytes()
    except OSError as error:
        raise DamagedFrameError(f"{path}: cannot be read ({error.strerror}){_REMEDY}") from error
    if digest_of(frame) != digest:
        raise DamagedFrameError(f"{path}: its bytes are not those that were written{_REMEDY}")
    return frame


_REMEDY = "; delete the file and run 'brainmvp prepare' with the same config again"


class OpenFrame:
    """A frame of which several crops are decoded.

    Args:
        frame: Its bytes, checked.
    """

    def __init__(self, frame: bytes) -> None:
        self._array = blosc2.ndarray_from_cframe(frame)
        self.shape: tuple[int, ...] = self._array.shape
        self.dtype: np.dtype[Any] = self._array.dtype

    def decode(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Return the voxels from `start` to before `stop`, both inside the volume, ``x y z``."""
        crop = np.empty([b - a for a, b in zip(start, stop, strict=True)], self.dtype)
        self.decode_into(crop, start, stop)
        return crop

    def decode_into(self, target: NDArray[Any], start: Sequence[int], stop: Sequence[int]) -> None:
        """Write the voxels from `start` to before `stop` into an array.

        Where the array is contiguous and of the stored type, nothing is copied.
        """
        if target.flags.c_contiguous and target.dtype == self.dtype:
            self._array.get_slice_numpy(target, (tuple(start), tuple(stop)))
        else:
            target[...] = self.decode(start, stop)


def decode_crop(frame: bytes, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
    """Return the voxels from `start` to before `stop`, both inside the volume, ``x y z``."""
    return OpenFrame(frame).decode(start, stop)
