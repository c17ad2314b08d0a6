"""The trials of a sweep as CSV and Markdown, best first."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.sweeps.trials import FAILED, FINISHED, STOPPED, Trial, rank

_STATES = {FINISHED: "finished", STOPPED: "stopped early", FAILED: "failed"}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return for each dotted name its last words, as many as tell it from the others."""
    words = {name: [word for word in name.split(".") if word != "init_args"] for name in names}
    short: dict[str, str] = {}
    for name, own in words.items():
        for count in range(1, len(own) + 1):
            end = own[-count:]
            if sum(other[-count:] == end for other in words.values()) == 1:
                break
        short[name] = ".".join(end)
    return short


def write_value(value: Any) -> str:  # noqa: ANN401 - any value of a parameter
    """Return a value for readers; numbers with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def count_states(trials: Sequence[Trial]) -> str:
    """Return how many trials ended how, such as ``"7 finished, 1 failed"``."""
    counts = Counter(trial.state for trial in trials)
    texts = [f"{counts[state]} {text}" for state, text in _STATES.items() if counts[state]]
    return ", ".join(texts) or "none finished"


def write_csv(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Return a row for each trial; values as in JSON where they are not plain."""
    names = [parameter.name for parameter in sweep.parameters]
    header = ["trial", "state", sweep.metric.name, "best", "validations", "seconds"]
    lines: list[list[Any]] = [[*header, *names, "reason"]]
    for trial in _ranked(sweep, trials):
        line: list[Any] = [
            trial.name,
            trial.state,
            _exact(trial.metric),
            _exact(_best(sweep, trial)),
        ]
        line += [len(trial.history), round(trial.seconds, 1)]
        line += [_plain(trial.values.get(name)) for name in names]
        lines.append([*line, trial.reason])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def write_markdown(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Return the trials for readers, with what they were about."""
    better = "higher" if sweep.metric.is_higher_better else "lower"
    short = short_names([one.name for one in sweep.parameters if not one.is_fixed])
    lines = [["Trial", sweep.metric.name, "best", *short.values(), "time", "state"]]
    for trial in _ranked(sweep, trials):
        line = [trial.name, _number(trial.metric), _number(_best(sweep, trial))]
        line += [write_value(trial.values.get(name)) for name in short]
        lines.append([*line, _time(trial.seconds), _STATES.get(trial.state, trial.state)])
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---", "---:", "---:", *["---:"] * len(short), "---:", "---"]
    body = "\n".join(f"| {' | '.join(line)} |" for line in [cells[0], rule, *cells[1:]])
    number = f"{len(trials)} trial{'' if len(trials) == 1 else 's'}"
    title = (
        f"Sweep {sweep.title}, {sweep.method}: {number}, {count_states(trials)}. "
        f"{sweep.metric.name}: {better} is better; the last validation, and the best one."
    )
    fixed = [f"{one.name}={write_value(one.values[0])}" for one in sweep.parameters if one.is_fixed]
    note = f" The same in all: `{'`, `'.join(fixed)}`." if fixed else ""
    return f"{title}{note}\n\n{body}\n"


def _ranked(sweep: Sweep, trials: Sequence[Trial]) -> list[Trial]:
    return rank(trials, is_higher_better=sweep.metric.is_higher_better)


def _best(sweep: Sweep, trial: Trial) -> float | None:
    choose = max if sweep.metric.is_higher_better else min
    return choose(trial.history) if trial.metric is not None else None


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of a parameter
    return value if isinstance(value, (int, float, str)) else json.dumps(value)


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
