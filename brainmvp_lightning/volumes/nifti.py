"""Read and write NIfTI files, strictly: what other readers pass over in silence is an error."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.gunzip import AGAIN, GZIP_MAGIC, gunzip, gunzip_start
from brainmvp_lightning.volumes.nifti_header import (
    HEADER_BYTES,
    MIN_SLICES,
    parse_header,
    scaling,
    spatial_shape,
    voxel_layout,
)
from brainmvp_lightning.volumes.transform import Affine, choose_affine

__all__ = [
    "MIN_SLICES",
    "GridPeek",
    "NiftiFile",
    "Volume",
    "open_nifti",
    "peek_grid",
    "read_nifti",
    "write_nifti",
]


@dataclass(frozen=True)
class Volume:
    """A 3-D image; real intensity = `array` * `slope` + `intercept`.

    Args:
        array: ``x y z``; integers as they are in the file if their slope is above 0, so that they
            rise with the intensity; everything else as float32 with the file's scaling applied.
            May be a read-only view.
        affine: Voxel index to RAS+ millimetres, 4 x 4.
        slope: Scaling of an integer array, else 1.
        intercept: Offset of an integer array, else 0.
        notes: Oddities that were handled, as parts of sentences.
    """

    array: NDArray[Any]
    affine: Affine
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along the axes of the file."""
        return self.array.shape

    def without_voxels(self) -> Volume:
        """Return the same volume as a husk that keeps the shape but no memory."""
        husk = np.broadcast_to(self.array.dtype.type(0), self.array.shape)
        return replace(self, array=husk)

    def real(self) -> NDArray[np.float32]:
        """Return the intensities in real units."""
        if self.slope == 1.0 and self.intercept == 0.0:
            return self.array.astype(np.float32, copy=False)
        scaled = self.array * np.float32(self.slope)
        scaled += np.float32(self.intercept)
        return scaled.astype(np.float32, copy=False)


@dataclass(frozen=True)
class NiftiFile:
    """An unpacked file, from which volumes can be taken.

    Args:
        file: Name for messages.
        header: NIfTI-1 or NIfTI-2 header of nibabel.
        content: The whole file, not compressed.
        notes: Oddities that were handled.
    """

    file: str
    header: Any
    content: bytes | bytearray
    notes: tuple[str, ...]

    def volume(self, volumes: Sequence[int] = ()) -> Volume:
        """Return the file's volume, or the mean of those that are named; see `read_nifti`.

        Raises:
            VolumeError: If the file cannot be used as a 3-D image, or has no such volume.
        """
        shape = spatial_shape(self.header, bool(volumes), self.file)
        arrays = _voxels(self.header, self.content, shape, self.file)
        chosen = _choose(volumes, arrays.shape[-1], self.file)
        affine, transform_notes = choose_affine(self.header, shape, self.file)
        slope, intercept = scaling(self.header)
        array = _one(arrays, chosen[0]) if len(chosen) == 1 else _mean(arrays, chosen)
        volume = Volume(array, affine, slope, intercept, (*self.notes, *transform_notes))
        if array.dtype.kind in "iu" and slope > 0:
            return volume
        return Volume(volume.real(), affine, notes=volume.notes)


def read_nifti(path: str | Path, volumes: Sequence[int] = ()) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file, compressed or not whatever its name says.

    Trailing axes of length 1 are dropped.

    Args:
        path: The file.
        volumes: Volumes of a 4-D file, counted from 0, whose mean in real units is the image. One
            alone is kept bit by bit. Empty for a file of one volume.

    Raises:
        VolumeError: If the file cannot be used as a 3-D image, or has no such volume.
    """
    return open_nifti(path).volume(volumes)


def open_nifti(path: str | Path) -> NiftiFile:
    """Read and unpack a file once, for one volume or several.

    Raises:
        VolumeError: If it is no NIfTI file or is damaged.
    """
    file = str(path)
    content, notes = _unpack(_load(Path(path)), file)
    return NiftiFile(file, parse_header(content, file), content, tuple(notes))


def write_nifti(path: str | Path, array: NDArray[Any], affine: NDArray[Any]) -> None:
    """Write a NIfTI-1 file in one piece, compressed if the name ends in ``.gz``.

    Args:
        path: File ending in ``.nii`` or ``.nii.gz``.
        array: ``x y z``, of a type NIfTI knows.
        affine: Voxel index to RAS+ millimetres, 4 x 4; stored as sform and qform.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if str(path).endswith(".gz"):
        content = gzip.compress(content, compresslevel=1, mtime=0)
    write_bytes(Path(path), content)


def _load(path: Path) -> bytes:
    file = str(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise VolumeError(file, "it is a link to nothing", "fetch its content") from error
        raise VolumeError(file, "there is no such file", "correct the path") from error
    except OSError as error:
        raise VolumeError(
            file, f"it cannot be read ({error.strerror})", "check its permissions"
        ) from error
    if not content:
        raise VolumeError(file, "it is empty (0 bytes)", AGAIN)
    start = content[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise VolumeError(file, "it is a web page, not an image", AGAIN)
    if start.startswith(b"version https://git-lfs"):
        raise VolumeError(file, "it is a Git LFS pointer, not an image", "run 'git lfs pull'")
    return content


def _unpack(content: bytes, file: str) -> tuple[bytes | bytearray, list[str]]:
    is_named_gzip = file.endswith(".gz")
    if not content.startswith(GZIP_MAGIC):
        return content, ["it is not compressed although its name says so"] if is_named_gzip else []
    unpacked = gunzip(content, file, _size_in_header(gunzip_start(content, HEADER_BYTES)))
    return unpacked, [] if is_named_gzip else ["it is compressed although its name does not say so"]


def _size_in_header(start: bytes) -> int | None:
    """Return how long a file with this header should be, or None if nothing is certain."""
    try:
        return voxel_layout(parse_header(start, ""), "").end
    except VolumeError:
        return None


def _choose(volumes: Sequence[int], count: int, file: str) -> Sequence[int]:
    missing = [str(index) for index in volumes if not 0 <= index < count]
    if missing:
        names = f"volume {missing[0]}" if len(missing) == 1 else f"volumes {', '.join(missing)}"
        holds = "1 volume" if count == 1 else f"{count} volumes"
        last = "leave 'volumes' empty" if count == 1 else f"'volumes' may be 0 to {count - 1}"
        raise VolumeError(file, f"it has no {names}: it holds {holds}", last)
    return volumes or (0,)


def _voxels(
    header: Any,  # noqa: ANN401 - nibabel has no types
    content: bytes | bytearray,
    shape: tuple[int, int, int],
    file: str,
) -> NDArray[Any]:
    """Return a view of all volumes in the file's own type, ``x y z volume``."""
    layout = voxel_layout(header, file)
    if layout.dtype.kind not in "iuf":
        kind = "colours" if layout.dtype.kind == "V" else "complex numbers"
        raise VolumeError(file, f"its voxels are {kind}", "convert it to grey values")
    present, needed = len(content) - layout.offset, layout.end - layout.offset
    if present < needed:
        raise VolumeError(
            file, f"it holds {max(present, 0)} of {needed} bytes of voxels", f"{AGAIN}; it is cut"
        )
    array = np.frombuffer(content, layout.dtype, layout.count, layout.offset)
    return array.reshape((*shape, -1), order="F")


def _one(arrays: NDArray[Any], index: int) -> NDArray[Any]:
    array = arrays[..., index]
    if arrays.shape[-1] > 1:
        array = array.copy(order="K")  # so that the other volumes can be forgotten
    target = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, which is checked later
        return array.astype(target, copy=False)


def _mean(arrays: NDArray[Any], chosen: Sequence[int]) -> NDArray[np.float32]:
    total = np.zeros(arrays.shape[:3], np.float64, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is checked later
        for index in chosen:
            total += arrays[..., index]
        mean: NDArray[np.float32] = (total / len(chosen)).astype(np.float32)
    return mean


@dataclass(frozen=True)
class GridPeek:
    """What a header says without reading the voxels.

    Args:
        voxel_mm3: Volume of a voxel.
        num_volumes: Length of the fourth axis.
    """

    voxel_mm3: float
    num_volumes: int


def peek_grid(path: Path) -> GridPeek | None:
    """Read only a file's header; None if that fails, `read_nifti` says why."""
    try:
        with path.open("rb") as file:
            is_compressed = file.read(2) == GZIP_MAGIC
        with gzip.open(path) if is_compressed else path.open("rb") as stream:
            header = parse_header(stream.read(HEADER_BYTES), str(path))
    except (OSError, EOFError, zlib.error, VolumeError):
        return None
    shape = header.get_data_shape()
    edges = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    return GridPeek(float(np.prod(edges)), int(np.prod(shape[3:], dtype=np.int64)))
