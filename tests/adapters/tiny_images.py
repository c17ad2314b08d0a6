"""Images of one millimetre that the adapters' data sets are made of."""

from pathlib import Path

import nibabel as nib
import numpy as np

from tests.conftest import blob


def grid(spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-14, -15, -13)
    return affine


def save_scans(folder: Path, *names: str) -> None:
    """Write a head for each name; its last word decides how bright it is."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = path.name.split(".")[0].split("_")[-1]
        nib.save(nib.Nifti1Image(blob(kind, seed), grid()), path)


def save_label(path: Path, *values: int) -> None:
    """Write a label whose values are slabs of two voxels in the middle of the head."""
    array = np.zeros((28, 30, 26), np.uint8)
    for place, value in enumerate(values):
        array[10:18, 10:18, 8 + 2 * place : 10 + 2 * place] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, grid()), path)
