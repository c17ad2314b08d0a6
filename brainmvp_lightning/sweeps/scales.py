"""Where values lie on the axes of a picture, and what is written there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from brainmvp_lightning.sweeps.parameters import Parameter
from brainmvp_lightning.sweeps.tables import write_value

_WIDEST_LABEL = 16
_WIDE_RATIO = 50.0  # positive numbers that differ by more are drawn on a logarithmic scale
_MARGIN = 0.06
_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Scale:
    """An axis from 0 to 1.

    Attributes:
        title: Written above it.
        low: Number at the lower end, a logarithm if `is_log`.
        high: Number at the upper end.
        is_log: Whether numbers are drawn by their logarithm.
        choices: Values of a parameter that has few; else none.
    """

    title: str
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    choices: tuple[Any, ...] = ()

    def place(self, value: Any) -> float:  # noqa: ANN401 - any value of a parameter
        """Return the height of a value."""
        if self.choices:
            # From top to bottom as they are written, numbers from bottom to top.
            return (self.choices.index(value) + 0.5) / len(self.choices)
        number = math.log10(value) if self.is_log else float(value)
        return (number - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return heights and labels."""
        if self.choices:
            return [(self.place(value), _label(value)) for value in self.choices]
        numbers = _log_ticks(self.low, self.high) if self.is_log else _ticks(self.low, self.high)
        return [(self.place(number), f"{number:.6g}") for number in numbers]


def scale_of(parameter: Parameter, values: Sequence[Any], title: str) -> Scale:
    """Return the axis of a parameter, around the values that were tried."""
    if parameter.is_choice:
        choices = list(parameter.values)
        if all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in choices):
            choices.sort()
        else:
            choices.reverse()
        return Scale(title, choices=tuple(choices))
    return number_scale(values, title, is_log=parameter.is_log and min(values) > 0)


def number_scale(numbers: Sequence[float], title: str, *, is_log: bool | None = None) -> Scale:
    """Return an axis around numbers.

    Args:
        numbers: At least one.
        title: Written above it.
        is_log: None: if they are positive and far apart.
    """
    low, high = min(numbers), max(numbers)
    if is_log is None:
        is_log = low > 0 and high / low > _WIDE_RATIO
    if is_log:
        low, high = math.log10(low), math.log10(high)
    if low == high:
        low, high = low - max(abs(low), 1e-3) / 10, high + max(abs(high), 1e-3) / 10
    margin = _MARGIN * (high - low)
    return Scale(title, low - margin, high + margin, is_log)


def _label(value: Any) -> str:  # noqa: ANN401 - any value of a parameter
    text = write_value(value)
    return text if len(text) <= _WIDEST_LABEL else text[: _WIDEST_LABEL - 1] + "…"


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(one * power for one in (*_STEPS, 10) if (high - low) / (one * power) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two logarithms: powers of ten if there are enough."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1,), (1, 3), _STEPS):
        found = [one * 10.0**power for power in powers for one in steps]
        found = [number for number in found if low <= math.log10(number) <= high]
        if len(found) >= 3:
            return found
    return _ticks(10**low, 10**high)
