"""Studies like those of BraTS, made from the MNI tissue maps: real anatomy, 16 % foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import nilearn
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SHAPE = (240, 240, 155)
MODALITIES = {  # grey level of grey matter, white matter, fluid
    "t1": (0.55, 0.85, 0.15),
    "t1ce": (0.6, 0.8, 0.2),
    "t2": (0.6, 0.35, 1.0),
    "flair": (0.75, 0.6, 0.1),
}
SHRINK = 0.86  # the MNI brain is larger than most; this leaves 16 % of the volume as foreground


def write_study(folder: Path, number: int) -> dict[str, Path]:
    """Write the four files of a study, skull-stripped, LPS, 1 mm, int16; return them by modality.

    Args:
        folder: Made if needed.
        number: Decides on size, bias field and noise.
    """
    generator = np.random.default_rng(number)
    grey, white, brain = _anatomy(generator)
    files = {}
    folder.mkdir(parents=True, exist_ok=True)
    for modality, levels in MODALITIES.items():
        image = levels[0] * grey + levels[1] * white + levels[2] * (1 - grey - white).clip(0)
        image *= _bias(generator)
        image += 0.03 * _noise(generator)
        image *= generator.integers(400, 1200)
        stored = np.where(brain, image.clip(1), 0).astype(np.int16)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[1, 3] = 239.0
        files[modality] = folder / f"study{number}_{modality}.nii.gz"
        nib.save(nib.Nifti1Image(stored[::-1, ::-1], affine), files[modality])
    return files


def _anatomy(generator: np.random.Generator) -> list[NDArray[Any]]:
    grey, white = (_tissue_map(name) for name in ("gm", "wm"))
    brain = ndimage.binary_opening(grey + white > 0.2, iterations=2)
    brain = ndimage.binary_closing(brain, iterations=6)
    step = 1 / (SHRINK * generator.uniform(0.97, 1.03, 3))
    offset = np.array([98, 120, 85]) - np.array(SHAPE) / 2 * step
    maps = [
        ndimage.affine_transform(tissue.astype(np.float32), step, offset, SHAPE, order=1)
        for tissue in (grey, white, brain)
    ]
    return [maps[0], maps[1], maps[2] > 0.5]


def _tissue_map(name: str) -> NDArray[np.float32]:
    folder = Path(nilearn.__file__).parent / "datasets" / "data"
    image = nib.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
    values = np.asarray(nib.as_closest_canonical(image).dataobj, np.float32)
    return np.asarray(values / 255, np.float32)


def _bias(generator: np.random.Generator) -> NDArray[np.float32]:
    coarse = generator.normal(1, 0.1, (4, 4, 4)).astype(np.float32)
    field = ndimage.zoom(coarse, [edge / 4 for edge in SHAPE], order=1)
    return np.asarray(field, np.float32)


def _noise(generator: np.random.Generator) -> NDArray[np.float32]:
    noise = generator.standard_normal(SHAPE, np.float32)
    for axis in range(3):  # neighbours correlate, as in images that were interpolated
        noise = 0.5 * (noise + np.roll(noise, 1, axis))
    return np.asarray(noise / noise.std(), np.float32)
