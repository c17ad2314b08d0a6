"""What must hold for an image or a label before it is worth preparing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.layout import as_flat
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume, read_nifti


def check_image(volume: Volume, path: Path, max_nonfinite: float) -> Volume:
    """Return a scan that shows something.

    Args:
        volume: What was read.
        path: Its file.
        max_nonfinite: Share of NaN and infinite voxels up to which they are replaced by 0 or the
            value nearest to it.

    Raises:
        VolumeError: If the scan cannot be used.
    """
    volume = _replace_nonfinite(volume, path, max_nonfinite)
    if _is_constant(as_flat(volume.array)):
        value = float(volume.array.flat[0]) * volume.slope + volume.intercept
        kind = "it is empty: all" if value == 0 else "it is constant: all"
        raise VolumeError(
            str(path), f"{kind} voxels are {value:g}", "export it again or leave it out"
        )
    return volume


def _is_constant(voxels: NDArray[Any]) -> bool:
    few = voxels[:: max(1, voxels.size // 1000)]  # a look at these nearly always tells
    return bool((few == few[0]).all() and (voxels == few[0]).all())


def _replace_nonfinite(volume: Volume, path: Path, max_share: float) -> Volume:
    if volume.array.dtype.kind != "f":
        return volume
    finite = np.isfinite(volume.array)
    count = volume.array.size - int(np.count_nonzero(finite))
    if count == 0:
        return volume
    share = count / volume.array.size
    text = f"{count} voxels ({share:.2%}) are NaN or infinite"
    if share > max_share:
        remedy = "repair it, or raise recipe.max_nonfinite if they are background"
        raise VolumeError(str(path), text, remedy)
    present = volume.array[finite]
    value = np.float32(np.clip(0, present.min(), present.max()) if present.size else 0)
    array = np.where(finite, volume.array, value)
    return replace(volume, array=array, notes=(*volume.notes, f"{text}; they became {value:g}"))


def read_label(path: Path) -> Volume:
    """Read an annotation as uint8, or int16 where values need it.

    Raises:
        VolumeError: If the file cannot be used or does not hold small whole numbers.
    """
    volume = read_nifti(path)
    values = volume.array if (volume.slope, volume.intercept) == (1.0, 0.0) else volume.real()
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise VolumeError(
            str(path),
            "it is no label: it holds fractions or NaN",
            "give a label map of whole numbers, resampled with nearest-neighbour interpolation",
        )
    smallest, largest = float(values.min()), float(values.max())
    if smallest < -32768 or largest > 32767:
        text = f"it is no label: values reach from {smallest:g} to {largest:g}"
        raise VolumeError(str(path), text, "give a label map with values up to 32767")
    dtype = np.uint8 if smallest >= 0 and largest <= 255 else np.int16
    return Volume(values.astype(dtype), volume.affine, notes=volume.notes)
