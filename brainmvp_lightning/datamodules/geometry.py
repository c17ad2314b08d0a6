"""Where the voxels of a study lie in template space."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.index import StudyIndex, StudySelection

Placement = Literal["centre", "world"]


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
