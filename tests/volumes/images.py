"""Small NIfTI files, good and bad."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np


def head(shape: tuple[int, int, int] = (12, 14, 10), level: int = 100, seed: int = 0) -> np.ndarray:
    """A textured box of int16 with a border of two zeros around it."""
    image = np.zeros(shape, np.int16)
    inner = tuple(n - 4 for n in shape)
    image[2:-2, 2:-2, 2:-2] = np.random.default_rng(seed).integers(level, 2 * level, inner)
    return image


def scaled(spacing: float = 1.0, origin: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **header: Any) -> Path:
    """Write with nibabel; `header` sets fields, such as ``qform_code=0``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, scaled() if affine is None else affine)
    nib.save(image, path)
    if header:
        loaded = nib.load(path)
        data = bytearray(loaded.to_bytes())
        fields = loaded.header.copy()
        for name, value in header.items():
            fields[name] = value
        data[:348] = fields.binaryblock
        write_raw(path, bytes(data))
    return path


def write_raw(path: Path, data: bytes) -> None:
    import gzip

    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
