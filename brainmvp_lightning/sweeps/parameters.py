"""Parameters of a sweep: wandb's distributions, each as a map from the unit interval."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import Any

_EDGE = 1e-12  # a normal distribution has no ends
_DIGITS = 12


@dataclass(frozen=True)
class Kind:
    """What a distribution is told by.

    Attributes:
        keys: Those it needs.
        optional: Those it may have.
        is_log: Whether it is even on a logarithmic scale.
    """

    keys: tuple[str, ...]
    optional: tuple[str, ...] = ()
    is_log: bool = False


_RANGE = ("min", "max")
_NORMAL = ("mu", "sigma")
KINDS: Mapping[str, Kind] = {
    "constant": Kind(("value",)),
    "categorical": Kind(("values",), ("probabilities",)),
    "categorical_w_probabilities": Kind(("values", "probabilities")),
    "int_uniform": Kind(_RANGE),
    "uniform": Kind(_RANGE),
    "q_uniform": Kind(_RANGE, ("q",)),
    "log_uniform": Kind(_RANGE, is_log=True),
    "log_uniform_values": Kind(_RANGE, is_log=True),
    "q_log_uniform": Kind(_RANGE, ("q",), is_log=True),
    "q_log_uniform_values": Kind(_RANGE, ("q",), is_log=True),
    "inv_log_uniform": Kind(_RANGE, is_log=True),
    "inv_log_uniform_values": Kind(_RANGE, is_log=True),
    "normal": Kind((), _NORMAL),
    "q_normal": Kind((), (*_NORMAL, "q")),
    "log_normal": Kind((), _NORMAL, is_log=True),
    "q_log_normal": Kind((), (*_NORMAL, "q"), is_log=True),
}
"""Source: wandb's documentation of sweep configurations, "distribution options"."""

ONLY_WANDB = ("beta", "q_beta")
"""Distributions that wandb has and we have not."""

CHOICES = ("constant", "categorical", "categorical_w_probabilities")


@dataclass(frozen=True)
class Parameter:
    """An option and what it may be.

    Attributes:
        name: Dotted, as in a configuration.
        distribution: One of `KINDS`.
        values: Those of a choice.
        weights: Probabilities of the choices; none if all are alike.
        low: Lower bound; exponents for ``log_uniform`` and ``inv_log_uniform``.
        high: Upper bound.
        mu: Mean of a normal distribution.
        sigma: Its standard deviation.
        q: Numbers are multiples of it.
    """

    name: str
    distribution: str
    values: tuple[Any, ...] = ()
    weights: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 1.0
    mu: float = 0.0
    sigma: float = 1.0
    q: float | None = None

    @property
    def is_choice(self) -> bool:
        """Whether it takes one of a few values."""
        return self.distribution in CHOICES

    @property
    def is_fixed(self) -> bool:
        """Whether it has the same value in all trials."""
        return self.is_choice and len(self.values) == 1

    @property
    def is_log(self) -> bool:
        """Whether it is even on a logarithmic scale."""
        return KINDS[self.distribution].is_log

    def at(self, place: float) -> Any:  # noqa: ANN401 - a value of any kind
        """Return the value below which the share `place` of all draws lies.

        Args:
            place: In [0, 1).
        """
        if self.is_choice:
            return self.values[self._index(place)]
        if self.distribution == "int_uniform":
            low, high = int(self.low), int(self.high)
            return min(high, low + int(place * (high - low + 1)))
        return self._rounded(self._number(place))

    def all_values(self) -> tuple[Any, ...]:
        """Return each value, for a grid: those of ``q_uniform`` from `low` on, without `high`.

        Raises:
            ValueError: If there are more than can be counted.
        """
        if self.is_choice:
            return self.values
        if self.distribution == "int_uniform":
            return tuple(range(int(self.low), int(self.high) + 1))
        if self.distribution == "q_uniform":
            q = self.q or 1
            number = math.ceil((self.high - self.low) / q - 1e-9)  # as many as numpy.arange
            steps = [self.low + step * q for step in range(number)]
            return tuple(
                step if isinstance(step, int) else float(f"{step:.{_DIGITS}g}") for step in steps
            )
        raise ValueError(f"{self.name} is {self.distribution}, which a grid cannot go through")

    def tries(self) -> Iterator[Any]:
        """Yield what a parser should take: all choices; both ends and one number in between."""
        if self.is_choice:
            yield from self.values
        elif "normal" in self.distribution:
            yield from (self.at(place) for place in (0.001, 0.37, 0.999))
        else:
            yield from dict.fromkeys(self.at(place) for place in (0.0, 0.37, 1.0))

    def _index(self, place: float) -> int:
        if not self.weights:
            return min(len(self.values) - 1, int(place * len(self.values)))
        ends = list(accumulate(self.weights))
        return min(len(self.values) - 1, bisect_right(ends, place * ends[-1]))

    def _number(self, place: float) -> float:
        name = self.distribution.removeprefix("q_")
        if "normal" in name:
            number = NormalDist(self.mu, self.sigma).inv_cdf(min(max(place, _EDGE), 1 - _EDGE))
            return math.exp(number) if name == "log_normal" else number
        low, high = self.low, self.high
        if name == "uniform":
            return low + place * (high - low)
        if name.endswith("_values"):
            if place in (0, 1):
                return high if place else low  # without the error of a logarithm
            low, high = math.log(low), math.log(high)
        if name == "inv_log_uniform":  # log(1 / x) lies between the bounds
            low, high = -high, -low
        return math.exp(low + place * (high - low))

    def _rounded(self, number: float) -> float:
        if not self.distribution.startswith("q_"):
            return number
        q = self.q or 1
        multiple = round(number / q) * q
        return multiple if isinstance(q, int) else float(f"{multiple:.{_DIGITS}g}")
