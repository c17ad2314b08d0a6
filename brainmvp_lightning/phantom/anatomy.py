"""The template head: soft tissue classes in MNI space, made from the maps that nilearn carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.phantom.fields import distance_to, ellipsoid
from brainmvp_lightning.phantom.grids import Floats, Grid, Matrix, head_grid, resample
from brainmvp_lightning.phantom.head import extend_to_head
from brainmvp_lightning.phantom.tissues import ANATOMY
from brainmvp_lightning.phantom.vessels import draw_arteries, draw_sagittal_sinus

# Maps that no tissue class expresses, stored behind the classes.
EXTRAS = ("brain", "periventricular", "vein")

# Deep grey nuclei as ellipsoids of one side, MNI mm: caudate, putamen, pallidum, thalamus,
# substantia nigra with red nucleus, dentate nucleus.
_NUCLEI = (
    ((13, 12, 11), (6, 12, 10)),
    ((26, 3, 2), (7, 16, 11)),
    ((20, -5, 0), (6, 8, 6)),
    ((12, -18, 8), (10, 15, 10)),
    ((5, -20, -9), (4, 4, 4)),
    ((14, -56, -34), (8, 8, 7)),
)
# Water further than this from the surface of the brain, and not below it, is ventricle.
_VENTRICLE_DEPTH_MM = 18.0
_VENTRICLE_FLOOR_MM = -32.0
# White matter hyperintensities cluster around the ventricles with this decay length.
_PERIVENTRICULAR_MM = 5.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Fractions of the template's tissues, ``c x y z``: classes `ANATOMY`, then `EXTRAS`; uint8.

    255 stands for 1. What is missing to 1 is air. Eight bits keep the file and the memory small
    and make a fresh and a reloaded anatomy identical.
    """

    grid: Grid
    maps: NDArray[np.uint8]

    def save(self, path: Path) -> None:
        """Write a compressed ``.npz`` file."""
        np.savez_compressed(path, maps=self.maps, affine=self.grid.affine)

    @classmethod
    def load(cls, path: Path) -> Anatomy:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            maps, affine = arrays["maps"], arrays["affine"]
        return cls(Grid((maps.shape[1], maps.shape[2], maps.shape[3]), affine), maps)


def build_anatomy(spacing_mm: float) -> Anatomy:
    """Build the template head on an isotropic grid; the same for everybody, seeds play no part."""
    source, brain_template, grey_template, white_template = _load_templates()
    grid = head_grid(spacing_mm)
    has_brain = ndimage.binary_fill_holes(brain_template > 0)
    water_template = np.where(has_brain, 1 - grey_template - white_template, 0).clip(0, 1)
    templates = (has_brain, water_template, grey_template, white_template)
    brain, water, grey, white = (resample(template, source, grid) for template in templates)
    is_brain = brain > 0.5
    head = extend_to_head(is_brain, grid)
    nuclei = _deep_grey(grid) * grey
    fractions = {"gm": grey - nuclei, "wm": white, "dgm": nuclei, **head}
    fractions["csf"] = water + head["csf"] * (1 - brain)
    for name in ("bone", "fat", "soft"):
        fractions[name] = head[name] * (1 - brain)
    fractions["vessel"] = draw_arteries(water_template, has_brain, source, grid)
    extras = {
        "brain": brain,
        "periventricular": _closeness_to_ventricles(water, is_brain, grid),
        "vein": draw_sagittal_sinus(has_brain, source, grid),
    }
    return Anatomy(grid, _quantise(fractions, extras))


def _load_templates() -> tuple[Grid, Floats, Floats, Floats]:
    """Return the 1 mm ICBM 2009a templates: T1 of the bare brain, grey and white matter."""
    # Imported here: nilearn brings scikit-learn along, two seconds that only this function needs.
    from nilearn.datasets import (
        load_mni152_gm_template,
        load_mni152_template,
        load_mni152_wm_template,
    )

    loaders = (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    images = [loader(resolution=1) for loader in loaders]
    brain, grey, white = (np.asarray(image.dataobj, np.float32) for image in images)
    affine: Matrix = np.asarray(images[0].affine, np.float64)
    return Grid(brain.shape, affine), brain, grey, white


def _deep_grey(grid: Grid) -> Floats:
    width_mm = 1 + grid.spacing_mm[0]
    nuclei = np.zeros(grid.shape, np.float32)
    for (x, y, z), radii in _NUCLEI:
        for side in (-1, 1):
            nucleus = ellipsoid(grid.axes_mm(), (side * x, y, z), radii, width_mm)
            np.maximum(nuclei, nucleus, out=nuclei)
    return nuclei


def _closeness_to_ventricles(water: Floats, is_brain: np.ndarray, grid: Grid) -> Floats:
    """Return 1 in the ventricles, falling exponentially with the distance from them."""
    spacing_mm = float(grid.spacing_mm[0])
    z_mm = grid.axes_mm()[2]
    is_deep = distance_to(~is_brain, spacing_mm) > _VENTRICLE_DEPTH_MM
    is_ventricle = (water > 0.6) & is_deep & (z_mm > _VENTRICLE_FLOOR_MM)
    closeness: Floats = np.exp(-distance_to(is_ventricle, spacing_mm) / _PERIVENTRICULAR_MM)
    return closeness


def _quantise(fractions: dict[str, Floats], extras: dict[str, Floats]) -> NDArray[np.uint8]:
    """Stack the maps; tissues that fill more than a voxel are scaled down to fill it."""
    tissues = np.stack([fractions[name] for name in ANATOMY])
    solid = tissues[: ANATOMY.index("vessel")]
    solid /= np.maximum(solid.sum(axis=0), 1)
    maps = np.concatenate([tissues, np.stack([extras[name] for name in EXTRAS])])
    quantised: NDArray[np.uint8] = np.rint(maps * 255).clip(0, 255).astype(np.uint8)
    return quantised
