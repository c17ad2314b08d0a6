"""Plots of the two studies, as PNG."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from brainmvp_lightning.experiments.comparison import ArmRow
from brainmvp_lightning.experiments.tables import Measure, measure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart by people who see colours differently.
_COLOURS = ("#5a5a5a", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_SIDE_STEP = 0.9  # percent of the patients between two arms, so that bars do not hide each other
_CAPTION_WIDTH = 116


def draw_label_efficiency(rows: Sequence[ArmRow], arms: Sequence[str], caption: str) -> bytes:
    """Return a curve for each arm over the share of training patients."""
    figure, axes = _start()
    for number, arm in enumerate(arms):
        own = [row for row in rows if row.arm == arm]
        offset = _SIDE_STEP * (number - (len(arms) - 1) / 2)
        places = [100 * row.fraction + offset for row in own]
        _draw(axes, own, places, number, line="-", side=_SIDE_STEP / 3)
    shares = sorted({100 * row.fraction for row in rows})
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.set_xlabel("training patients used (%)")
    axes.legend(title="arm", frameon=False, fontsize=9)
    return _finish(figure, axes, headline_of(rows)[1], caption, "Label efficiency")


def draw_ablation(rows: Sequence[ArmRow], arms: Sequence[str], caption: str) -> bytes:
    """Return a point for each arm, in the order of the plan."""
    figure, axes = _start()
    name, measure = headline_of(rows)
    for number, arm in enumerate(arms):
        own = [row for row in rows if row.arm == arm]
        _draw(axes, own, [float(number)] * len(own), number, line="", side=-0.06)
        for row in own:
            if not math.isnan(row.measures[name]):
                place = number + 0.09, measure.scale * row.measures[name]
                axes.annotate(measure.write(row.measures[name]), place, va="center", fontsize=9)
    wrapped = ["\n".join(textwrap.wrap(arm, 16)) for arm in arms]
    axes.set_xticks(range(len(arms)), wrapped)
    axes.set_xlim(-0.5, len(arms) - 0.3)
    axes.set_xlabel("pre-training")
    return _finish(figure, axes, measure, caption, "Ablation of the pre-training")


def headline_of(rows: Sequence[ArmRow]) -> tuple[str, Measure]:
    """Return the name of the measure that is plotted, and how it is written."""
    name = next(iter(rows[0].measures))
    return name, measure_of(name)


def _start() -> tuple[Figure, Axes]:
    # Here, for plots are the only use of matplotlib, which takes long to load.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5.0), dpi=150)
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _draw(
    axes: Axes,
    rows: Sequence[ArmRow],
    places: Sequence[float],
    number: int,
    *,
    line: str,
    side: float,
) -> None:
    """Draw an arm; its single runs lie `side` beside their mean."""
    if not rows:
        return
    name, measure = headline_of(rows)
    colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
    means = [measure.scale * row.measures[name] for row in rows]
    # A mean over runs with other cases than the shared ones may lie outside of the interval.
    ends = [(row.interval.low, row.interval.high) for row in rows]
    below = [_length(m, low, measure.scale) for m, (low, _) in zip(means, ends, strict=True)]
    above = [-_length(m, high, measure.scale) for m, (_, high) in zip(means, ends, strict=True)]
    spans = [[max(0.0, v) for v in below], [max(0.0, v) for v in above]]
    look = f"{mark}{line}"
    axes.errorbar(places, means, spans, fmt=look, color=colour, capsize=3, label=rows[0].arm)
    for row, place in zip(rows, places, strict=True):
        values = [measure.scale * value for value in row.values]
        axes.plot([place + side] * len(values), values, ".", color=colour, markersize=5)


def _length(value: float, end: float | None, scale: float) -> float:
    return 0.0 if end is None or math.isnan(value) else value - scale * end


def _finish(figure: Figure, axes: Axes, measure: Measure, caption: str, title: str) -> bytes:
    axes.set_ylabel(measure.title)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    lines = textwrap.wrap(caption, _CAPTION_WIDTH)
    height = 0.034 * len(lines)
    figure.subplots_adjust(left=0.1, right=0.98, top=0.93, bottom=0.15 + height)
    figure.text(0.02, 0.015, "\n".join(lines), fontsize=8, va="bottom", color="#333333")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
