"""A head that is known everywhere, so that it can be scanned in any pose without interpolation."""

import numpy as np
from scipy.spatial.transform import Rotation

from brainmvp_lightning.volumes.nifti import Volume

# Centre and radii (mm) of ellipsoids, and what they add in two contrasts.
PARTS = (
    ((0, 0, 0), (72, 92, 82), 200, 60),  # scalp
    ((0, 0, 0), (66, 86, 76), -180, -50),  # skull
    ((0, -2, 2), (60, 78, 66), 100, 120),  # brain
    ((-9, 10, 8), (6, 26, 10), -90, 150),  # ventricles
    ((10, 8, 8), (5, 24, 9), -90, 150),
    ((-24, 4, 2), (8, 14, 9), 30, -40),  # deep grey matter
    ((25, 2, 1), (8, 14, 9), 30, -40),
    ((30, -40, 20), (14, 11, 12), -40, 90),  # a lesion
    ((0, -52, -42), (34, 20, 18), 20, -20),  # cerebellum
    ((0, 84, -14), (9, 14, 10), 160, 100),  # nose
    ((-34, 62, -22), (12, 12, 12), -60, 200),  # eyes
    ((34, 62, -22), (12, 12, 12), -60, 200),
)


def pose(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> np.ndarray:
    """World to world transform of a head that turned and moved."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def scan_head(
    contrast: int = 0,
    motion: np.ndarray | None = None,
    spacing_mm: tuple[float, float, float] = (3, 3, 3),
    noise: float = 3.0,
) -> Volume:
    """Scan the head; `motion` leads from the world of the scan to that of the head."""
    shape = tuple(int(210 / edge) for edge in spacing_mm)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [
        -edge * (extent - 1) / 2 for edge, extent in zip(spacing_mm, shape, strict=True)
    ]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    to_head = (np.eye(4) if motion is None else motion) @ affine
    points = index @ to_head[:3, :3].T + to_head[:3, 3]
    image = np.zeros(shape)
    for centre, radii, *levels in PARTS:
        distance = np.sqrt((((points - centre) / radii) ** 2).sum(axis=-1))
        inside = np.clip((1 - distance) * min(radii) / 3 + 0.5, 0, 1)  # soft edge of 3 mm
        image += levels[contrast] * inside
    image = image.clip(0) + np.abs(np.random.default_rng(contrast).normal(0, noise, shape))
    return Volume(image.astype(np.float32), affine)


def brain(volume: Volume) -> np.ndarray:
    """Where the brain is in an unmoved scan, ``x y z``."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    points = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    centre, radii, *_ = PARTS[2]
    inside: np.ndarray = (((points - centre) / radii) ** 2).sum(axis=-1) <= 1
    return inside


def distance_mm(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance over the head between what two transforms make of it."""
    points = np.random.default_rng(0).normal(0, 35, (400, 3))
    moved = [points @ matrix[:3, :3].T + matrix[:3, 3] for matrix in (first, second)]
    return float(np.linalg.norm(moved[0] - moved[1], axis=1).mean())
