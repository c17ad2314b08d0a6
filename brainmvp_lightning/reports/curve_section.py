"""All logged numbers as charts, runs laid over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from brainmvp_lightning.reports.charts import Line, line_chart
from brainmvp_lightning.reports.configuration import task_of
from brainmvp_lightning.reports.markup import swatch
from brainmvp_lightning.reports.metrics import Curve, thin
from brainmvp_lightning.reports.run_folder import Run

MOST_POINTS = 400  # of a curve; wider than the screen shows

_TRAINING = "Losses and training"
_VALIDATION = "Validation"
_TEMPLATES = "Templates"
_ORDER = {_TRAINING: 0, _VALIDATION: 1, _TEMPLATES: 2}
Chart = list[Line]


def write_curves(runs: Sequence[Run]) -> str:
    """Return charts in groups; nothing if nothing was logged."""
    groups = group_curves(runs)
    if not groups:
        return ""
    parts = [_controls(runs)]
    for heading, charts in groups.items():
        body = "".join(line_chart(title, lines) for title, lines in charts.items())
        is_open = " open" if heading.startswith((_TRAINING, _VALIDATION)) else ""
        parts.append(
            f"<details{is_open}><summary>{escape(heading)} <small>{len(charts)}</small></summary>"
            f'<div class="charts">{body}</div></details>'
        )
    return "".join(parts)


def group_curves(runs: Sequence[Run]) -> dict[str, dict[str, Chart]]:
    """Return the lines of each chart, by heading and title.

    A loss that is logged in training and validation shares a chart, the training dashed; statistics
    of templates share one for all modalities. Runs of different tasks have charts of their own.
    """
    tasks = {task_of(run.config) for run in runs if run.logs.curves}
    learned = {name.split("/")[1] for run in runs for name in _templates(run.logs.curves)}
    modalities = sorted(learned)
    groups: dict[str, dict[str, Chart]] = {}
    for number, run in enumerate(runs):
        owner = f"{run.name} · " if len(runs) > 1 else ""
        suffix = f" · {task_of(run.config)}" if len(tasks) > 1 else ""
        for name, curve in run.logs.curves.items():
            kind, _, rest = name.partition("/")
            label, colour, title = f"{owner}{name}", number, name
            heading = _heading(name, run.logs.curves)
            if kind in ("train", "val"):
                title = rest
            elif name in _templates(run.logs.curves):
                modality, title = rest.split("/", 1)
                label, colour = owner + modality, modalities.index(modality)
            dashed = kind == "train" or (kind == "templates" and number % 2 == 1)
            line = Line(label, colour, number, dashed, thin(curve, MOST_POINTS))
            groups.setdefault(heading + suffix, {}).setdefault(title, []).append(line)
    ordered = sorted(groups, key=lambda heading: (_ORDER.get(heading.split(" · ")[0], 3), heading))
    return {heading: _sorted(groups[heading]) for heading in ordered}


def _heading(name: str, curves: Mapping[str, Curve]) -> str:
    kind = name.partition("/")[0]
    if name in _templates(curves):
        return _TEMPLATES
    if kind == "train":
        return _TRAINING
    if kind == "val":  # the terms of the loss, if there is a total; else scores
        return _TRAINING if "val/total" in curves else _VALIDATION
    return kind.title()


def _templates(curves: Mapping[str, Curve]) -> list[str]:
    return [name for name in curves if name.startswith("templates/") and name.count("/") == 2]


def _sorted(charts: dict[str, Chart]) -> dict[str, Chart]:
    first = ("total", "dice", "auc")
    return dict(sorted(charts.items(), key=lambda row: (row[0] not in first, row[0])))


def _controls(runs: Sequence[Run]) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" class="show-run" data-run="{number}" checked>'
        f"{swatch(number)}{escape(run.name)}</label>"
        for number, run in enumerate(runs)
    )
    return (
        f'<div class="controls" role="group" aria-label="Curves">{boxes}'
        '<label><input type="checkbox" id="log-scale">logarithmic</label>'
        '<span class="hint">Training dashed, validation solid. Point at a chart, or focus it and '
        "use the arrow keys, to read values.</span></div>"
    )
