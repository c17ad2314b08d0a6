"""What the header of a NIfTI file says, checked; headers are those of nibabel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.gunzip import AGAIN

MIN_SLICES = 5

_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
HEADER_BYTES = max(_HEADERS)


def parse_header(content: bytes | bytearray, file: str) -> Any:  # noqa: ANN401 - nibabel has no types
    """Return the header at the start of a file that is not compressed.

    Raises:
        VolumeError: If it is not that of one NIfTI-1 or NIfTI-2 file.
    """
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


def spatial_shape(header: Any, is_chosen: bool, file: str) -> tuple[int, int, int]:  # noqa: ANN401 - nibabel has no types
    """Return the voxels along x, y, z.

    Args:
        header: Header.
        is_chosen: It is known which of several volumes is wanted.
        file: Name for messages.

    Raises:
        VolumeError: If there are too few slices, or several volumes and no choice.
    """
    shape = tuple(int(extent) for extent in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    text = " x ".join(str(extent) for extent in shape)
    if len(shape) > 3 and not is_chosen:
        raise VolumeError(
            file,
            f"it holds {int(np.prod(shape[3:]))} volumes ({text})",
            "give one 3-D image: for diffusion the trace (mean of the b=1000 volumes) or the b=0; "
            "or name those whose mean is wanted in 'volumes', counted from 0",
        )
    if len(shape) < 3 or min(shape[:3]) < MIN_SLICES:
        raise VolumeError(
            file,
            f"it has fewer than {MIN_SLICES} slices along an axis ({text})",
            "leave it out of the data set; it is a localiser or a single slice",
        )
    return shape[0], shape[1], shape[2]


@dataclass(frozen=True)
class Layout:
    """Where in a file the voxels of all volumes are.

    Args:
        dtype: Type of a voxel, with its byte order.
        offset: First byte.
        count: Number of voxels.
    """

    dtype: np.dtype[Any]
    offset: int
    count: int

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.offset + self.count * self.dtype.itemsize


def voxel_layout(header: Any, file: str) -> Layout:  # noqa: ANN401 - nibabel has no types
    """Return where the voxels are.

    Raises:
        VolumeError: If their type is unknown or no place is given.
    """
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (nib.spatialimages.HeaderDataError, KeyError) as error:
        code = int(header["datatype"])
        raise VolumeError(file, f"its voxels are of an unknown type ({code})", AGAIN) from error
    start = float(header["vox_offset"])
    if not 0 <= start < 2**53:
        raise VolumeError(file, f"its voxels cannot begin at byte {start:g}", AGAIN)
    count = int(np.prod(header.get_data_shape(), dtype=np.int64))
    return Layout(dtype, int(start) or int(header.single_vox_offset), count)


def scaling(header: Any) -> tuple[float, float]:  # noqa: ANN401 - nibabel has no types
    """Return slope and intercept of the stored numbers."""
    try:
        slope, intercept = header.get_slope_inter()
    except nib.spatialimages.HeaderDataError:  # an intercept that is not finite means no scaling
        return 1.0, 0.0
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept or 0.0))
