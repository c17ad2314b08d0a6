"""A sweep at a glance: each trial a line over axes of its parameters, coloured by its metric."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.sweeps.scales import Scale, number_scale, scale_of
from brainmvp_lightning.sweeps.tables import count_states, short_names
from brainmvp_lightning.sweeps.trials import Trial, rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = "viridis"
_GREY = "#9a9a9a"
_INK = "#333333"
_SPREAD = 0.5  # share of a choice's room over which its lines are spread


def draw_trials(sweep: Sweep, trials: Sequence[Trial]) -> bytes:
    """Return a picture as PNG.

    Trials without a metric are dotted and end before its axis.

    Args:
        sweep: What was tried.
        trials: At least one with a metric.
    """
    from matplotlib.figure import Figure

    scales, metric = _scales(sweep, trials)
    figure = Figure(figsize=(1.9 * (len(scales) + 1) + 1.0, 4.6), layout="constrained")
    axes = figure.add_subplot()
    worst_first = rank(trials, is_higher_better=sweep.metric.is_higher_better)[::-1]
    places = _places(list(scales.items()), worst_first)
    _draw_lines(axes, sweep, worst_first, places, metric)
    for position, scale in enumerate([*scales.values(), metric]):
        _draw_axis(axes, position, scale, is_metric=scale is metric)
    better = "higher" if sweep.metric.is_higher_better else "lower"
    axes.set_title(
        f"{sweep.title}: {count_states(trials)}; {better} {metric.title} is better, "
        "the best one is thick",
        fontsize=10,
        color=_INK,
        pad=34,
        loc="left",
    )
    axes.set_xlim(-0.35, len(scales) + 0.45)
    axes.set_ylim(-0.03, 1.03)
    axes.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _scales(sweep: Sweep, trials: Sequence[Trial]) -> tuple[dict[str, Scale], Scale]:
    varying = [one for one in sweep.parameters if not one.is_fixed]
    short = short_names([one.name for one in varying])
    scales = {
        one.name: scale_of(one, [trial.values[one.name] for trial in trials], short[one.name])
        for one in varying
    }
    metrics = [trial.metric for trial in trials if trial.metric is not None]
    return scales, number_scale(metrics, sweep.metric.name)


def _places(scales: list[tuple[str, Scale]], trials: Sequence[Trial]) -> dict[int, list[float]]:
    """Return the heights of each trial; those with the same choice lie side by side, in order."""
    heights: dict[int, list[float]] = {trial.number: [] for trial in trials}
    for name, scale in scales:
        for trial in trials:
            height = scale.place(trial.values[name])
            if scale.choices:
                same = [one for one in trials if one.values[name] == trial.values[name]]
                order = (same.index(trial) + 0.5) / len(same) - 0.5
                height += _SPREAD * order / len(scale.choices)
            heights[trial.number].append(height)
    return heights


def _draw_lines(
    axes: Axes,
    sweep: Sweep,
    trials: Sequence[Trial],
    places: dict[int, list[float]],
    metric: Scale,
) -> None:
    from matplotlib import colormaps

    colours = colormaps[_COLOURS]
    for order, trial in enumerate(trials):
        heights = list(places[trial.number])
        style: dict[str, Any] = {"color": _GREY, "lw": 1.0, "ls": ":"}
        if trial.metric is not None:
            height = metric.place(trial.metric)
            heights.append(height)
            style = {"color": colours(_shade(sweep, height)), "lw": 1.4, "alpha": 0.85}
        if order == len(trials) - 1:
            style |= {"lw": 3.4, "alpha": 1.0}
        xs, ys = _curve(heights)
        axes.plot(xs, ys, zorder=2 + order / len(trials), solid_capstyle="round", **style)


def _shade(sweep: Sweep, height: float) -> float:
    """Return the place in the colours: good trials are dark, whichever way is good."""
    goodness = height if sweep.metric.is_higher_better else 1 - height
    return 0.95 * (1 - goodness)


def _curve(heights: Sequence[float]) -> tuple[Any, Any]:
    """Return a line that crosses each axis level, so that lines can be followed."""
    import numpy as np

    if len(heights) == 1:
        return [0.0], list(heights)
    share = np.linspace(0, 1, 30)
    smooth = 0.4 * share + 0.6 * share**2 * (3 - 2 * share)
    pieces = [
        (position + share, low + (high - low) * smooth)
        for position, (low, high) in enumerate(itertools.pairwise(heights))
    ]
    return np.concatenate([x for x, _ in pieces]), np.concatenate([y for _, y in pieces])


def _draw_axis(axes: Axes, position: int, scale: Scale, *, is_metric: bool) -> None:
    axes.plot([position] * 2, [0, 1], color=_INK, lw=1.2, zorder=4)
    weight = "bold" if is_metric else "normal"
    log = "\n(log)" if scale.is_log else ""
    text = scale.title + log
    axes.annotate(
        text,
        (position, 1.0),
        (0, 9),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=10,
        fontweight=weight,
        color=_INK,
    )
    for height, label in scale.ticks():
        axes.plot([position - 0.02, position + 0.02], [height] * 2, color=_INK, lw=1.0, zorder=4)
        axes.annotate(
            label,
            (position, height),
            (6 if not is_metric else 8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=_INK,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75},
        )
