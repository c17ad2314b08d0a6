"""Line charts and dot plots as inline SVG; ``page.js`` adds the readout."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from brainmvp_lightning.reports.metrics import Curve

WIDTH, HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 26
_COLUMN, _GAP = 50, 30  # of dot plots

Column = tuple[int, Sequence[float]]


@dataclass(frozen=True)
class Line:
    """A curve as it is drawn.

    Attributes:
        label: For the readout.
        colour: Number of the colour.
        run: Number of the run, by which the reader hides it.
        is_dashed: Whether it is drawn dashed: training beside validation.
        curve: Its points.
    """

    label: str
    colour: int
    run: int
    is_dashed: bool
    curve: Curve


def line_chart(title: str, lines: Sequence[Line]) -> str:
    """Return a chart of curves over the steps of training, with its numbers for the script."""
    lines = [line for line in lines if line.curve.steps]
    steps = [step for line in lines for step in line.curve.steps]
    values = [value for line in lines for value in line.curve.values]
    if not steps:
        return ""
    across = _Scale.of(min(steps), max(steps), _LEFT, WIDTH - _RIGHT, is_padded=False)
    up = _Scale.of(min(values), max(values), HEIGHT - _BOTTOM, _TOP)
    data = {
        "x": [across.low, across.high],
        "y": [up.low, up.high],
        "lines": [
            {
                "label": line.label,
                "run": line.run,
                "colour": line.colour % 8,
                "steps": line.curve.steps,
                "values": [float(f"{value:.5g}") for value in line.curve.values],
            }
            for line in lines
        ],
    }
    body = "".join(_draw(line, across, up) for line in lines)
    words = f"{title}: {len(lines)} curves over {max(steps)} steps"
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}" tabindex="0">'
        f"{_axes(across, up)}{body}"
        '<line class="cursor" hidden></line></svg><output></output>'
        f'<script type="application/json">{embed(data)}</script></figure>'
    )


def dot_plot(title: str, groups: Sequence[tuple[str, Sequence[Column]]]) -> str:
    """Return columns of dots with their medians and quartiles, side by side in groups.

    Args:
        title: What the values, in [0, 1], are.
        groups: Name, and the number of the colour with the values for each column.
    """
    num_columns = sum(len(columns) for _, columns in groups)
    width = _LEFT + _COLUMN * num_columns + _GAP * len(groups) + _RIGHT
    up = _Scale(0.0, 1.0, HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(up, _LEFT, width - _RIGHT)]
    left = _LEFT + _GAP / 2
    for name, columns in groups:
        for number, (colour, values) in enumerate(columns):
            parts.append(_dots(values, left + _COLUMN * (number + 0.5), up, colour))
        middle = left + _COLUMN * len(columns) / 2
        parts.append(
            f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(name)}</text>'
        )
        left += _COLUMN * len(columns) + _GAP
    return (
        f'<figure class="chart dots"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {width} {HEIGHT}" style="width:{width}px" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def embed(data: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", " ").replace("\u2029", " ")


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers from `low` to `high`."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 12) for i in range(count)]


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(
        cls, low: float, high: float, start: float, end: float, *, is_padded: bool = True
    ) -> _Scale:
        if high <= low:
            margin = abs(low) * 0.1 or 1.0
            low, high = low - margin, high + margin
        elif is_padded:
            margin = 0.04 * (high - low)
            low, high = low - margin, high + margin
        return cls(low, high, start, end)

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def _axes(across: _Scale, up: _Scale) -> str:
    marks = [_grid(up, _LEFT, WIDTH - _RIGHT)]
    for value in ticks(across.low, across.high):
        x = across(value)
        marks.append(f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{_number(value)}</text>')
    return f'<g class="axes">{"".join(marks)}</g>'


def _grid(up: _Scale, left: float, right: float) -> str:
    marks = []
    for value in ticks(up.low, up.high):
        y = up(value)
        marks.append(
            f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
            f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{_number(value)}</text>'
        )
    return "".join(marks)


def _draw(line: Line, across: _Scale, up: _Scale) -> str:
    points = " ".join(
        f"{across(step)},{up(value)}"
        for step, value in zip(line.curve.steps, line.curve.values, strict=True)
    )
    kind = f"c{line.colour % 8}{' dashed' if line.is_dashed else ''}"
    if len(line.curve.steps) == 1:
        x, y = points.split(",")
        return f'<circle class="dot {kind}" data-run="{line.run}" cx="{x}" cy="{y}" r="3"/>'
    return f'<polyline class="{kind}" data-run="{line.run}" points="{points}"/>'


def _dots(values: Sequence[float], middle: float, up: _Scale, colour: int) -> str:
    ordered = sorted(values)
    if not ordered:
        return ""
    low, median, high = (quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    box = (
        f'<rect class="box c{colour % 8}" x="{middle - 20}" width="40" y="{up(high)}" '
        f'height="{max(up(low) - up(high), 1):.1f}"/>'
        f'<line class="median" x1="{middle - 20}" x2="{middle + 20}" '
        f'y1="{up(median)}" y2="{up(median)}"/>'
    )
    dots = "".join(
        # A fixed zigzag keeps equal values apart without chance.
        f'<circle class="dot c{colour % 8}" cx="{middle + (number * 7 % 5 - 2) * 5}" '
        f'cy="{up(value)}" r="2.5"/>'
        for number, value in enumerate(ordered)
    )
    return box + dots


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values, linear between neighbours."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0e}".replace("e+0", "e")
