"""Lesions: where and how large they are, and how they replace tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainmvp_lightning.phantom.body import Body, Region
from brainmvp_lightning.phantom.deformation import Push
from brainmvp_lightning.phantom.fields import inside
from brainmvp_lightning.phantom.grids import Floats

# Values of the label maps; 1 to 3 are those of the glioma challenges.
LABELS = {
    1: "tumour core without enhancement",
    2: "oedema",
    3: "enhancing tumour",
    4: "infarct",
    5: "schwannoma",
}
# Classes of the studies and the diagnosis each stands for.
DIAGNOSES = {
    "HGG": "high-grade glioma",
    "LGG": "low-grade glioma",
    "stroke": "ischaemic stroke",
    "schwannoma": "vestibular schwannoma",
    "healthy": "no finding",
}
# Glioma centres stay within this share of an ellipsoid that is about the brain.
_BRAIN_RADII_MM = np.array([58.0, 80.0, 62.0])
_MAX_DEPTH = 0.8


@dataclass(frozen=True)
class Lesion:
    """Place and size of the finding that gives a study its class."""

    diagnosis: str
    centre_mm: tuple[float, float, float]
    radius_mm: float

    def pushes(self) -> tuple[Push, ...]:
        """Return the mass effect: gliomas move the tissue around them."""
        strength = {"HGG": 0.45, "LGG": 0.3}.get(self.diagnosis)
        return () if strength is None else (Push(self.centre_mm, 1.5 * self.radius_mm, strength),)


def draw_lesion(diagnosis: str, rng: np.random.Generator) -> Lesion | None:
    """Draw a lesion at a plausible place of either side; None for a healthy person.

    Raises:
        ValueError: If there is no such diagnosis.
    """
    if diagnosis not in DIAGNOSES:
        raise ValueError(f"unknown diagnosis {diagnosis!r}; known are {', '.join(DIAGNOSES)}")
    if diagnosis == "healthy":
        return None
    # Lower and upper bounds of x (of either side), y, z and the radius, mm.
    bounds = {
        "stroke": ((24, -45, -2, 9), (46, 30, 40, 22)),
        "schwannoma": ((17, -37, -41, 5), (22, -31, -35, 10)),
    }.get(diagnosis, ((18, -60, -8, 11), (42, 42, 42, 21)))
    x, y, z, radius = rng.uniform(*bounds)
    centre = np.array([rng.choice([-1, 1]) * x, y, z])
    depth = float(np.linalg.norm(centre / _BRAIN_RADII_MM))
    if depth > _MAX_DEPTH and diagnosis != "schwannoma":
        centre *= _MAX_DEPTH / depth
    return Lesion(diagnosis, (float(centre[0]), float(centre[1]), float(centre[2])), float(radius))


def paint_lesion(body: Body, lesion: Lesion, rng: np.random.Generator) -> None:
    """Replace tissue of `body` by the lesion and write its label."""
    if lesion.diagnosis in ("HGG", "LGG"):
        _paint_glioma(body, lesion, rng)
    elif lesion.diagnosis == "stroke":
        _paint_stroke(body, lesion, rng)
    else:
        _paint_schwannoma(body, lesion, rng)


def paint_hyperintensities(body: Body, amount: float, rng: np.random.Generator) -> None:
    """Sprinkle white matter hyperintensities, mostly around the ventricles; they get no label.

    Args:
        body: Where.
        amount: 0 for few, 1 for many.
        rng: Source of randomness.
    """
    region = body.whole()
    fine = region.noise(rng, 4.5, 1)[0]
    spots = (1.5 * (fine + 2.2 * body.periventricular - (3.0 - 1.1 * amount))).clip(0, 1)
    in_white = (1.6 * body.share("wm", region) - 0.5).clip(0, 1)
    body.paint("wmh", 0.8 * spots * in_white * (body.lesion == 0), region)


def _paint_glioma(body: Body, lesion: Lesion, rng: np.random.Generator) -> None:
    is_high_grade = lesion.diagnosis == "HGG"
    region = body.around(lesion.centre_mm, 4.5 * lesion.radius_mm)
    rough = _roughness(region, rng, 3)
    distance = region.distance_to(lesion.centre_mm)
    in_brain = (2 * body.brain[region.box] - 0.6).clip(0, 1)
    depth = distance - lesion.radius_mm * (1 + 0.3 * rough[0])
    core = inside(depth) * in_brain * (1 - 0.9 * (body.share("csf", region) > 0.8))
    swollen = lesion.radius_mm * (
        rng.uniform(1.9, 2.6) if is_high_grade else rng.uniform(1.25, 1.6)
    )
    grey = body.share("gm", region) + body.share("dgm", region)
    # Oedema spreads along white matter and spares the cortex.
    affinity = (1.25 * body.share("wm", region) + 0.25 * grey - 0.05).clip(0, 1)
    oedema = inside(distance - swollen * (1 + 0.3 * rough[1]), 5.0) * affinity * in_brain
    oedema *= rng.uniform(0.75, 0.95)
    body.paint("oedema", oedema, region)
    body.label(2, oedema > 0.35, region)
    if is_high_grade:
        rim_mm = (rng.uniform(3.0, 5.5) * (1 + 0.45 * rough[2])).clip(1.2, None)
        _paint_core(body, region, core, inside(depth + rim_mm) * in_brain)
    else:
        body.paint("core", core, region)
        body.label(1, core > 0.5, region)


def _paint_core(body: Body, region: Region, core: Floats, necrosis: Floats) -> None:
    """Paint an enhancing rim around necrosis."""
    body.paint("enhancing", core, region)
    body.label(3, core > 0.5, region)
    body.paint("necrosis", 0.95 * necrosis, region)
    body.label(1, necrosis > 0.5, region)


def _paint_stroke(body: Body, lesion: Lesion, rng: np.random.Generator) -> None:
    """Paint one large infarct and, in a third of the cases, a second small one beside it."""
    foci = [(lesion.centre_mm, lesion.radius_mm)]
    if rng.random() < 0.35:
        x, y, z = np.array(lesion.centre_mm) + rng.uniform(-25, 25, 3) * (0.3, 1, 1)
        foci.append(((float(x), float(y), float(z)), rng.uniform(3, 7)))
    for centre, radius in foci:
        region = body.around(centre, 2.2 * radius)
        depth = region.distance_to(centre) - radius * (1 + 0.33 * _roughness(region, rng, 1)[0])
        tissue = body.share("gm", region) + body.share("wm", region) + body.share("dgm", region)
        infarct = inside(depth, 2.5) * (2 * tissue - 0.8).clip(0, 1) * rng.uniform(0.75, 1.0)
        body.paint("infarct", infarct, region)
        body.label(4, infarct > 0.45, region)


def _paint_schwannoma(body: Body, lesion: Lesion, rng: np.random.Generator) -> None:
    """Paint a ball in the cistern with a stem into the ear canal."""
    x, y, z = lesion.centre_mm
    side = np.sign(x)
    region = body.around(lesion.centre_mm, 2.2 * lesion.radius_mm)
    rough = _roughness(region, rng, 1)[0]
    ball = region.distance_to(lesion.centre_mm) - lesion.radius_mm * (1 + 0.12 * rough)
    stem = region.distance_to((x + side * lesion.radius_mm, y - 1, z)) - 0.5 * lesion.radius_mm
    tumour = inside(np.minimum(ball, stem))
    body.paint("schwannoma", tumour, region)
    body.label(5, tumour > 0.5, region)


def _roughness(region: Region, rng: np.random.Generator, num: int) -> Floats:
    """Draw what makes the outlines irregular, about unit variance."""
    return region.noise(rng, 13, num) + 0.35 * region.noise(rng, 5, num)
