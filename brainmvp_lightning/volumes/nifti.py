"""Read and write NIfTI files, strictly: what other readers pass over in silence is an error."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.transform import Affine, choose_affine

MIN_SLICES = 5

_AGAIN = "download or convert it again"
_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Volume:
    """A 3-D image; real intensity = `array` * `slope` + `intercept`.

    Args:
        array: ``x y z``; integers as they are in the file, everything else as float32 with the
            file's scaling applied. May be a read-only view.
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


def read_nifti(path: str | Path) -> Volume:
    """Read a 3-D NIfTI-1 or NIfTI-2 file, compressed or not whatever its name says.

    Trailing axes of length 1 are dropped.

    Raises:
        VolumeError: If the file cannot be used as one 3-D image.
    """
    file = str(path)
    content, notes = _unpack(_load(Path(path)), file)
    header = _parse_header(content, file)
    shape = _three_axes(header, file)
    array = _voxels(header, content, shape, file)
    affine, transform_notes = choose_affine(header, shape, file)
    slope, intercept = _scaling(header)
    volume = Volume(array, affine, slope, intercept, tuple(notes + transform_notes))
    if array.dtype.kind in "iu":
        return volume
    return Volume(volume.real(), affine, notes=volume.notes)


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
        raise VolumeError(file, "it is empty (0 bytes)", _AGAIN)
    start = content[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise VolumeError(file, "it is a web page, not an image", _AGAIN)
    if start.startswith(b"version https://git-lfs"):
        raise VolumeError(file, "it is a Git LFS pointer, not an image", "run 'git lfs pull'")
    return content


def _unpack(content: bytes, file: str) -> tuple[bytes, list[str]]:
    is_named_gzip = file.endswith(".gz")
    if not content.startswith(_GZIP_MAGIC):
        return content, ["it is not compressed although its name says so"] if is_named_gzip else []
    try:
        unpacked = gzip.decompress(content)
    except EOFError as error:
        raise VolumeError(file, "its compressed data end too early", _AGAIN) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise VolumeError(file, f"its compressed data are damaged ({error})", _AGAIN) from error
    return unpacked, [] if is_named_gzip else ["it is compressed although its name does not say so"]


def _parse_header(content: bytes, file: str) -> Any:  # noqa: ANN401 - nibabel has no types
    sizes = [int.from_bytes(content[:4], order) for order in ("little", "big")]
    size = next((size for size in sizes if size in _HEADERS), None)
    if size is None or len(content) < size:
        raise VolumeError(file, "it is not a NIfTI file", "convert it to NIfTI")
    header = _HEADERS[size](content[:size], check=False)
    magic = bytes(header["magic"])
    if magic[:2] != b"n+":
        kind = "a header without its image" if magic[:2] == b"ni" else "an Analyze file"
        raise VolumeError(file, f"it is {kind}", "convert it to a single .nii.gz file")
    return header


def _three_axes(header: Any, file: str) -> tuple[int, int, int]:  # noqa: ANN401 - nibabel has no types
    shape = tuple(int(extent) for extent in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    text = " x ".join(str(extent) for extent in shape)
    if len(shape) > 3:
        raise VolumeError(
            file,
            f"it holds {shape[-1]} volumes ({text})",
            "give one 3-D image: for diffusion the trace (mean of the b=1000 volumes) or the b=0",
        )
    if len(shape) < 3 or min(shape) < MIN_SLICES:
        raise VolumeError(
            file,
            f"it has fewer than {MIN_SLICES} slices along an axis ({text})",
            "leave it out of the data set; it is a localiser or a single slice",
        )
    return shape[0], shape[1], shape[2]


def _voxels(header: Any, content: bytes, shape: tuple[int, ...], file: str) -> NDArray[Any]:  # noqa: ANN401 - nibabel has no types
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        kind = "colours" if dtype.kind == "V" else "complex numbers"
        raise VolumeError(file, f"its voxels are {kind}", "convert it to grey values")
    offset = int(header["vox_offset"]) or int(header.single_vox_offset)
    count = int(np.prod(shape, dtype=np.int64))
    present, needed = len(content) - offset, count * dtype.itemsize
    if present < needed:
        raise VolumeError(
            file, f"it holds {max(present, 0)} of {needed} bytes of voxels", f"{_AGAIN}; it is cut"
        )
    array = np.frombuffer(content, dtype, count, offset).reshape(shape, order="F")
    target = np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, which is checked later
        return array.astype(target, copy=False)


def _scaling(header: Any) -> tuple[float, float]:  # noqa: ANN401 - nibabel has no types
    try:
        slope, intercept = header.get_slope_inter()
    except nib.spatialimages.HeaderDataError:  # an intercept that is not finite means no scaling
        return 1.0, 0.0
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept or 0.0))


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
            is_compressed = file.read(2) == _GZIP_MAGIC
        with gzip.open(path) if is_compressed else path.open("rb") as stream:
            header = _parse_header(stream.read(540), str(path))
    except (OSError, EOFError, zlib.error, VolumeError):
        return None
    shape = header.get_data_shape()
    edges = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    return GridPeek(float(np.prod(edges)), int(np.prod(shape[3:], dtype=np.int64)))
