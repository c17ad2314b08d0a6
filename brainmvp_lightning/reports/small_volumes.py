"""Volumes of a run, small enough to travel inside a page."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.nifti import read_nifti

LONGEST_EDGE = 128


@dataclass(frozen=True, eq=False)
class SmallVolume:
    """Bytes for voxels.

    Attributes:
        array: ``x y z``, uint8.
        affine: Voxel index to world millimetres.
    """

    array: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Edges of a voxel."""
        x, y, z = (float(edge) for edge in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    def to_nifti(self) -> bytes:
        """Return a NIfTI-1 file, compressed, whose header says nothing but the grid."""
        image = nib.Nifti1Image(self.array, self.affine)
        image.header.set_xyzt_units("mm")
        return gzip.compress(image.to_bytes(), compresslevel=9, mtime=0)


@dataclass(frozen=True, eq=False)
class WorstCase:
    """A case that a test kept.

    Attributes:
        image: Its background.
        overlays: ``annotation`` and ``prediction``, those that are there.
        modality: What the background is.
        names: Structures behind the values of the overlays; the first one is the background.
        dice: Of each region.
    """

    image: SmallVolume
    overlays: Mapping[str, SmallVolume] = field(default_factory=dict)
    modality: str = ""
    names: tuple[str, ...] = ()
    dice: Mapping[str, float | None] = field(default_factory=dict)


def read_grey(path: Path) -> SmallVolume | None:
    """Return an image between its 1st and 99th percentile, or None if it is one grey all over.

    Raises:
        VolumeError: If it cannot be read.
    """
    volume = read_nifti(path)
    values = np.nan_to_num(volume.real())
    low, high = np.percentile(values, (1, 99))
    if not high > low:
        return None
    scaled = ((values - low) * (255 / (high - low))).clip(0, 255)
    step = _step(values.shape)
    return SmallVolume(_means(scaled, step), _coarser(volume.affine, step, is_mean=True))


def read_case(folder: Path) -> WorstCase:
    """Return the volumes of a worst case.

    Raises:
        VolumeError: If one of them cannot be read.
        ValueError: If they do not lie on each other.
    """
    image = _read_bytes(folder / "image.nii.gz")
    files = {"annotation": "label.nii.gz", "prediction": "prediction.nii.gz"}
    overlays = {
        name: _read_bytes(folder / file) for name, file in files.items() if (folder / file).exists()
    }
    for name, overlay in overlays.items():
        if overlay.array.shape != image.array.shape:
            raise ValueError(
                f"the {name} has {overlay.array.shape} voxels, the image {image.array.shape}"
            )
    facts = _read_facts(folder / "case.json")
    return WorstCase(
        image=image,
        overlays=overlays,
        modality=str(facts.get("modality", "")),
        names=tuple(map(str, facts.get("names", ()))),
        dice=dict(facts.get("dice", {})),
    )


def _read_facts(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    facts = json.loads(path.read_text(encoding="utf-8"))
    try:
        dice = {str(region): value for region, value in facts["dice"].items()}
        is_good = all(value is None or isinstance(value, int | float) for value in dice.values())
        names = [str(name) for name in facts["names"]]
        modality = str(facts["modality"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("case.json has not the entries that a test writes") from error
    if not is_good:
        raise ValueError("case.json has a Dice that is no number")
    return {"modality": modality, "names": names, "dice": dice}


def _read_bytes(path: Path) -> SmallVolume:
    volume = read_nifti(path)
    values = volume.real()
    if values.min() < 0 or values.max() > 255:
        raise ValueError(f"{path.name} has values outside of 0 to 255")
    step = _step(values.shape)
    array = np.ascontiguousarray(values[::step, ::step, ::step]).astype(np.uint8)
    return SmallVolume(array, _coarser(volume.affine, step, is_mean=False))


def _step(shape: tuple[int, ...]) -> int:
    return math.ceil(max(shape) / LONGEST_EDGE)


def _means(values: NDArray[np.float32], step: int) -> NDArray[np.uint8]:
    """Return means of blocks of voxels; the edge is repeated where the last one is not full."""
    padded = np.pad(values, [(0, -size % step) for size in values.shape], mode="edge")
    x, y, z = (size // step for size in padded.shape)
    blocks = padded.reshape(x, step, y, step, z, step).mean(axis=(1, 3, 5))
    rounded: NDArray[np.uint8] = np.rint(blocks).astype(np.uint8)
    return rounded


def _coarser(affine: NDArray[Any], step: int, *, is_mean: bool) -> NDArray[np.float64]:
    """Return the affine of every ``step``-th voxel, or of the centres of blocks."""
    scale = np.diag([step, step, step, 1.0])
    if is_mean:
        scale[:3, 3] = (step - 1) / 2
    coarser: NDArray[np.float64] = np.asarray(affine, np.float64) @ scale
    return coarser
