"""One person: the warped template with an own folding pattern, vessels and perhaps a lesion."""

from __future__ import annotations

import numpy as np

from brainmvp_lightning.phantom.anatomy import EXTRAS, Anatomy
from brainmvp_lightning.phantom.body import Body
from brainmvp_lightning.phantom.deformation import Push, draw_template_positions, warp_maps
from brainmvp_lightning.phantom.fields import generator, smooth_noise
from brainmvp_lightning.phantom.grids import Floats
from brainmvp_lightning.phantom.lesions import (
    draw_lesion,
    paint_hyperintensities,
    paint_lesion,
)
from brainmvp_lightning.phantom.tissues import ANATOMY, CLASSES, INDEX

_NUM_SOLID = ANATOMY.index("vessel")  # the classes before it fill space, the rest is painted
_VENTRICLES_MM = (0.0, -12.0, 16.0)
_VENTRICLE_REACH_MM = 26.0
# The templates are averages; their sulci hold less water than those of any one person.
_SULCAL_WATER = 1.4
# How far random fields tip the balance between tissues, in units of the logarithm.
_FOLDING = {"csf": 0.7, "gm": 0.0, "wm": 0.5}
_FOLDING_MM = 12.0


def draw_person(anatomy: Anatomy, diagnosis: str, is_old: bool, seed: int, index: int) -> Body:
    """Draw a head that depends on the arguments alone.

    Args:
        anatomy: Template, which also sets the grid.
        diagnosis: Key of `lesions.DIAGNOSES`.
        is_old: Wide ventricles and sulci, more white matter hyperintensities.
        seed: Of the cohort.
        index: Of the study.
    """
    rng = generator(seed, index, "shape")
    lesion = draw_lesion(diagnosis, generator(seed, index, "lesion"))
    ventricle_growth = rng.uniform(0.15, 0.3) if is_old else rng.uniform(-0.06, 0.1)
    pushes = [Push(_VENTRICLES_MM, _VENTRICLE_REACH_MM, ventricle_growth)]
    pushes += lesion.pushes() if lesion else ()
    positions = draw_template_positions(anatomy.grid, pushes, rng)
    warped = warp_maps(anatomy, positions)
    extras = dict(zip(EXTRAS, warped[len(ANATOMY) :], strict=True))
    fractions = np.zeros((len(CLASSES), *anatomy.grid.shape), np.float32)
    fractions[:_NUM_SOLID] = _sharpen(warped[:_NUM_SOLID], anatomy, is_old, rng)
    body = Body(
        anatomy.grid,
        fractions,
        extras["brain"],
        extras["vein"],
        extras["periventricular"],
        np.zeros(anatomy.grid.shape, np.uint8),
    )
    if lesion:
        paint_lesion(body, lesion, generator(seed, index, "lesion texture"))
    paint_hyperintensities(body, rng.uniform(0.6, 1) if is_old else rng.uniform(0, 0.5), rng)
    _paint_vessels(body, warped)
    return body


def _sharpen(shares: Floats, anatomy: Anatomy, is_old: bool, rng: np.random.Generator) -> Floats:
    """Turn the blurred shares of the average template into those of one person.

    Squaring makes borders crisp, random fields move them, which changes every gyrus a little.
    """
    spacing_mm = float(anatomy.grid.spacing_mm[0])
    air = (1 - shares.sum(axis=0)).clip(0, 1)
    sharp = shares**2
    for name, amount in _FOLDING.items():
        if amount:
            field = smooth_noise(rng, shares.shape[1:], _FOLDING_MM, spacing_mm)[0]
            sharp[INDEX[name]] *= np.exp(np.float32(amount) * field)
    sharp[INDEX["csf"]] *= _SULCAL_WATER * (1.4 if is_old else 1.0)
    sharp[INDEX["gm"]] *= 0.85 if is_old else 1.0
    sharp /= sharp.sum(axis=0) + air**2 + np.float32(1e-6)
    return sharp


def _paint_vessels(body: Body, warped: Floats) -> None:
    """Add vessels and dura on top; necrosis and other lesions keep their place."""
    region = body.whole()
    is_free = 1 - body.fractions[len(ANATOMY) :].sum(axis=0)
    body.paint("dura", 0.9 * warped[ANATOMY.index("dura")] * is_free, region)
    blood = np.maximum(warped[_NUM_SOLID], 0.85 * body.vein)
    body.paint("vessel", blood.clip(0, 1) * (1 - body.share("necrosis", region)), region)
