"""Tissue classes and their physical properties at two field strengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

ANATOMY = ("csf", "gm", "wm", "dgm", "bone", "fat", "soft", "vessel", "dura")
LESIONS = ("oedema", "enhancing", "necrosis", "core", "infarct", "wmh", "schwannoma")
CLASSES = ANATOMY + LESIONS
INDEX = {name: position for position, name in enumerate(CLASSES)}

# Gadolinium shortens T1 by r1 = 4.5 /s/mM, here per millisecond and millimole.
RELAXIVITY = 4.5e-3
# Spread of each property between people, relative.
PERSONAL_SPREAD = 0.03

# Deep grey (dgm) lies between grey and white; "core" is tumour without enhancement; "wmh" are
# white matter hyperintensities. Values are rounded from the common ranges of the literature.
#   T1, T2 ms at 3 T | T1, T2 ms at 1.5 T | proton density | ADC 1e-3 mm2/s | gadolinium mM
PROPERTIES = {
    "csf": (4160, 1900, 4000, 2000, 1.00, 3.00, 0.00),
    "gm": (1400, 98, 1130, 102, 0.82, 0.86, 0.02),
    "wm": (830, 75, 630, 80, 0.71, 0.72, 0.01),
    "dgm": (1180, 76, 900, 84, 0.79, 0.75, 0.02),
    "bone": (400, 0.6, 350, 0.8, 0.10, 0.10, 0.00),
    "fat": (420, 60, 320, 75, 0.72, 0.05, 0.00),
    "soft": (1250, 38, 950, 42, 0.62, 1.10, 0.06),
    "vessel": (1850, 160, 1500, 230, 0.88, 1.80, 2.50),
    "dura": (1100, 60, 900, 65, 0.55, 0.90, 0.90),
    "oedema": (1550, 165, 1250, 170, 0.88, 1.40, 0.02),
    "enhancing": (1450, 118, 1150, 125, 0.84, 1.05, 0.85),
    "necrosis": (2500, 290, 2100, 300, 0.93, 1.90, 0.02),
    "core": (1750, 190, 1400, 195, 0.88, 1.45, 0.04),
    "infarct": (1550, 125, 1200, 130, 0.86, 0.42, 0.02),
    "wmh": (1350, 140, 1050, 145, 0.82, 1.15, 0.01),
    "schwannoma": (1500, 115, 1200, 120, 0.85, 1.35, 1.10),
}


@dataclass(frozen=True, eq=False)
class Tissues:
    """Properties of all classes in one person at one field strength, each one value per class.

    Args:
        t1_ms: Longitudinal relaxation time.
        t2_ms: Transverse relaxation time.
        density: Proton density relative to water.
        diffusion: Apparent diffusion coefficient, 1e-3 mm2/s.
        contrast_mm: Gadolinium concentration after injection, mM.
    """

    t1_ms: Numbers
    t2_ms: Numbers
    density: Numbers
    diffusion: Numbers
    contrast_mm: Numbers

    def enhanced(self) -> Tissues:
        """Return the tissues after gadolinium, which adds r1 times its concentration to 1/T1."""
        t1_ms = 1.0 / (1.0 / self.t1_ms + RELAXIVITY * self.contrast_mm)
        return Tissues(t1_ms, self.t2_ms, self.density, self.diffusion, self.contrast_mm)


def typical_tissues(field_tesla: float) -> Tissues:
    """Return the tabulated properties at 1.5 or 3 T.

    Raises:
        ValueError: If there is no table for that field strength.
    """
    if field_tesla not in (1.5, 3.0):
        raise ValueError(f"tissues are tabulated at 1.5 and 3.0 T, not at {field_tesla} T")
    table = np.array([PROPERTIES[name] for name in CLASSES])  # class property
    first = 0 if field_tesla == 3.0 else 2
    t1_ms, t2_ms = table[:, first], table[:, first + 1]
    return Tissues(t1_ms, t2_ms, table[:, 4], table[:, 5], table[:, 6])


def personal_tissues(field_tesla: float, rng: np.random.Generator) -> Tissues:
    """Return typical tissues with small independent deviations of one person."""
    typical = typical_tissues(field_tesla)
    spread = 1 + PERSONAL_SPREAD * rng.standard_normal((5, len(CLASSES))).clip(-2.5, 2.5)
    return Tissues(
        typical.t1_ms * spread[0],
        typical.t2_ms * spread[1],
        typical.density * spread[2],
        typical.diffusion * spread[3],
        typical.contrast_mm * spread[4],
    )
