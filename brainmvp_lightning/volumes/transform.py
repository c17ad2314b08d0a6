"""From voxel index to millimetres: which of a NIfTI header's two transforms counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainmvp_lightning.volumes.errors import VolumeError

Affine = NDArray[np.float64]

MIN_VOXEL_MM = 0.1
MAX_VOXEL_MM = 20.0
MAX_COSINE = 0.1  # between two voxel axes; 6 degrees off the right angle
MAX_DISAGREEMENT = 0.5  # of the smallest voxel edge, between sform and qform

_REMEDY = "write the right one into the header (for example with nibabel's set_sform)"


def choose_affine(header: Any, shape: tuple[int, ...], file: str) -> tuple[Affine, list[str]]:  # noqa: ANN401 - nibabel has no types
    """Return the transform to RAS+ millimetres and what the user should know about it.

    The sform counts when its code is set and it is usable, else the qform likewise (the rule of
    nibabel, FSL and SPM; ITK takes the qform first). A difference of more than half a voxel
    between the two is noted, and so is an unusable sform.

    Args:
        header: A NIfTI header of nibabel.
        shape: Voxels along x, y, z.
        file: Name for messages.

    Raises:
        VolumeError: If neither is set or usable.
    """
    found: dict[str, Affine] = {}
    faults: dict[str, str] = {}
    for name in ("sform", "qform"):
        affine, fault = _coded(header, name)
        if fault:
            faults[name] = fault
        elif affine is not None:
            found[name] = affine
    if not found:
        if faults:
            raise VolumeError(file, f"its {'; its '.join(faults.values())}", _REMEDY)
        raise VolumeError(
            file,
            "it has no transform to the world (sform and qform codes are 0), "
            "so left and right are unknown",
            "copy the transform from the original series",
        )
    notes = [f"its {fault}, so the other transform is used" for fault in faults.values()]
    if len(found) == 2:
        notes += _disagreement(found["sform"], found["qform"], shape)
    return next(iter(found.values())), notes


def _coded(header: Any, name: str) -> tuple[Affine | None, str]:  # noqa: ANN401 - nibabel has no types
    if header["pixdim"][0] == 0:  # the sign of the third axis; the NIfTI standard reads 0 as 1
        header = header.copy()
        header["pixdim"][0] = 1
    try:
        affine, code = getattr(header, f"get_{name}")(coded=True)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        return None, f"{name} is not a valid rotation"
    if code == 0 or affine is None:
        return None, ""
    fault = affine_fault(affine)
    return affine, f"{name} {fault}" if fault else ""


def affine_fault(affine: Affine) -> str:
    """Return why a transform cannot be used, or an empty string."""
    if not np.isfinite(affine).all():
        return "holds NaN or infinity"
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if lengths.min() == 0:
        return "has a column of zeros"
    cosines = (columns / lengths).T @ (columns / lengths)
    worst = float(np.abs(cosines - np.eye(3)).max())
    if worst > MAX_COSINE:
        degrees = np.degrees(np.arcsin(min(worst, 1.0)))
        return f"is sheared by {degrees:.0f} degrees"
    if lengths.min() < MIN_VOXEL_MM or lengths.max() > MAX_VOXEL_MM:
        edges = " x ".join(f"{length:.4g}" for length in lengths)
        return f"gives voxels of {edges} mm, outside {MIN_VOXEL_MM:g} to {MAX_VOXEL_MM:g} mm"
    return ""


def _disagreement(sform: Affine, qform: Affine, shape: tuple[int, ...]) -> list[str]:
    grid = np.meshgrid(*[(0, extent - 1) for extent in shape], indexing="ij")
    corners = np.stack([axis.ravel() for axis in grid])
    difference = sform - qform
    moved = difference[:3, :3] @ corners + difference[:3, 3:]
    distance = float(np.linalg.norm(moved, axis=0).max())
    smallest = float(np.linalg.norm(sform[:3, :3], axis=0).min())
    if distance <= MAX_DISAGREEMENT * smallest:
        return []
    return [f"its sform and qform disagree by up to {distance:.1f} mm; the sform is used"]
