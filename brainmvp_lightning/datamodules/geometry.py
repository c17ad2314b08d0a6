"""Where the voxels of a study lie: in template space, and in the files they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.batches import FileGeometry, StudyGeometry
from brainmvp_lightning.volumes.index import StudyIndex, StudySelection

Placement = Literal["centre", "world"]


def file_voxels(
    voxels: NDArray[np.float64], start: Sequence[int], study: StudyGeometry, file: FileGeometry
) -> NDArray[np.float64]:
    """Return where in a file the voxels of a volume come from, ``n 3``, in (fractional) indices.

    Args:
        voxels: Indices into the image of a `VolumeBatch`, ``n 3``.
        start: First voxel of this image in the stored box.
        study: Geometry of the study.
        file: Geometry of one of its files.
    """
    to_world = np.asarray(study["affine"])
    from_world = np.linalg.inv(np.asarray(file["to_study"]) @ np.asarray(file["affine"]))
    matrix = from_world @ to_world
    moved: NDArray[np.float64] = (voxels + np.asarray(start)) @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def centre_mm(studies: StudyIndex | StudySelection) -> tuple[float, float, float]:
    """Return the mean of the centres of the studies in world millimetres."""
    centres = _moved(studies.column("affine"), studies.column("shape") // 2)
    x, y, z = centres.mean(axis=0).tolist()
    return x, y, z


def reference_voxels(
    studies: StudySelection, placement: Placement, centre: tuple[float, float, float]
) -> NDArray[np.int64]:
    """Return the voxel of each stored box that crop origins are counted from, ``n 3``.

    Args:
        studies: Where.
        placement: ``"centre"`` takes the centre of each study, ``"world"`` one point of the world.
        centre: This point, in millimetres.
    """
    if placement == "centre":
        return np.asarray(studies.column("shape") // 2, np.int64)
    inverse = np.linalg.inv(studies.column("affine"))
    return np.rint(_moved(inverse, np.asarray(centre))).astype(np.int64)


def _moved(matrices: NDArray[np.float64], points: NDArray[Any]) -> NDArray[np.float64]:
    """Apply ``n 4 4`` transforms to ``n 3`` points, or all to one point."""
    moved: NDArray[np.float64] = (matrices[:, :3, :3] @ points[..., None])[..., 0]
    return moved + matrices[:, :3, 3]
