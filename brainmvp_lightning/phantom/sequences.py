"""Pulse sequences: the textbook signal equations and the protocols of a scanner.

All times are in milliseconds, all signals are magnitudes in units of fully relaxed water.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from brainmvp_lightning.phantom.tissues import Numbers, Tissues

T1Kind = Literal["mprage", "gradient_echo", "spin_echo"]


class Sequence(ABC):
    """Maps tissue properties to signals."""

    @abstractmethod
    def signal(self, tissues: Tissues) -> Numbers:
        """Return one signal per tissue class."""

    @abstractmethod
    def sidecar(self) -> dict[str, float]:
        """Return the parameters under their BIDS names, times in seconds."""


@dataclass(frozen=True)
class SpinEcho(Sequence):
    """Spin echo or turbo spin echo: T1, T2 or proton density weighting by its times."""

    tr_ms: float
    te_ms: float

    def signal(self, tissues: Tissues) -> Numbers:
        """Return ``PD (1 - exp(-TR/T1)) exp(-TE/T2)``."""
        recovery = 1 - np.exp(-self.tr_ms / tissues.t1_ms)
        return self._decayed(tissues, recovery)

    def _decayed(self, tissues: Tissues, magnetisation: Numbers) -> Numbers:
        signals: Numbers = tissues.density * magnetisation * np.exp(-self.te_ms / tissues.t2_ms)
        return signals

    def sidecar(self) -> dict[str, float]:
        """Return repetition and echo time."""
        return {"RepetitionTime": self.tr_ms / 1000, "EchoTime": self.te_ms / 1000}


@dataclass(frozen=True)
class DiffusionEcho(SpinEcho):
    """Spin echo with diffusion weighting `b_value`, s/mm2, the mean over directions."""

    b_value: float

    def signal(self, tissues: Tissues) -> Numbers:
        """Return the spin echo times ``exp(-b ADC)``."""
        attenuation: Numbers = np.exp(-self.b_value * tissues.diffusion * 1e-3)
        return super().signal(tissues) * attenuation


@dataclass(frozen=True)
class InversionEcho(SpinEcho):
    """Inversion recovery spin echo; nulls CSF where ``TI`` fits its T1 (FLAIR)."""

    ti_ms: float

    def signal(self, tissues: Tissues) -> Numbers:
        """Return ``PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)``."""
        t1_ms = tissues.t1_ms
        recovery = np.abs(1 - 2 * np.exp(-self.ti_ms / t1_ms) + np.exp(-self.tr_ms / t1_ms))
        return self._decayed(tissues, recovery)

    def sidecar(self) -> dict[str, float]:
        """Return repetition, echo and inversion time."""
        return super().sidecar() | {"InversionTime": self.ti_ms / 1000}


@dataclass(frozen=True)
class Mprage(InversionEcho):
    """Magnetisation-prepared gradient echo with a short readout in a repeated inversion."""

    def signal(self, tissues: Tissues) -> Numbers:
        """Return ``PD |1 - 2 exp(-TI/T1) / (1 + exp(-TR/T1))| exp(-TE/T2)``."""
        inverted = 2 * np.exp(-self.ti_ms / tissues.t1_ms)
        recovery = np.abs(1 - inverted / (1 + np.exp(-self.tr_ms / tissues.t1_ms)))
        return self._decayed(tissues, recovery)


@dataclass(frozen=True)
class GradientEcho(Sequence):
    """Spoiled gradient echo: T1 weighting, and time of flight with a short TR."""

    tr_ms: float
    te_ms: float
    flip_degrees: float

    def signal(self, tissues: Tissues) -> Numbers:
        """Return the Ernst formula ``PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE/T2)``."""
        decay = np.exp(-self.tr_ms / tissues.t1_ms)
        angle = math.radians(self.flip_degrees)
        steady = math.sin(angle) * (1 - decay) / (1 - math.cos(angle) * decay)
        signals: Numbers = tissues.density * steady * np.exp(-self.te_ms / tissues.t2_ms)
        return signals

    def sidecar(self) -> dict[str, float]:
        """Return repetition and echo time and the flip angle."""
        times = {"RepetitionTime": self.tr_ms / 1000, "EchoTime": self.te_ms / 1000}
        return times | {"FlipAngle": self.flip_degrees}


def draw_protocols(
    field_tesla: float, t1_kind: T1Kind, rng: np.random.Generator
) -> dict[str, Sequence]:
    """Return a sequence for every modality but ADC, with parameters a few percent off the usual.

    T1 with and without gadolinium share their parameters, as in practice.
    """

    def near(value: float, spread: float = 0.06) -> float:
        return value * (1 + rng.uniform(-spread, spread))

    weighted_t1: dict[T1Kind, Sequence] = {
        "mprage": Mprage(near(2300), near(3.0), near(1200)),
        "gradient_echo": GradientEcho(near(10), near(3.5), near(28)),
        "spin_echo": SpinEcho(near(450), near(11)),
    }
    # CSF vanishes at TI = 0.57 T1 for a TR near 9 s; scanners sit slightly later.
    csf_null_ms = 0.57 * (4160 if field_tesla == 3.0 else 4000)
    return {
        "t1": weighted_t1[t1_kind],
        "t1ce": weighted_t1[t1_kind],
        "t2": SpinEcho(near(4800), near(96)),
        "flair": InversionEcho(near(9200), near(112), near(1.03 * csf_null_ms, 0.02)),
        "pd": SpinEcho(near(5200), near(14)),
        "dwi": DiffusionEcho(near(8000), near(82), 1000.0),
        "mra": GradientEcho(near(21), near(3.6), near(19)),
    }
