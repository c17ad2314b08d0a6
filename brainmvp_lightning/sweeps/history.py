"""The metric of a run, from the tables that its CSV logger writes."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path


def read_history(folder: Path, metric: str) -> list[float]:
    """Return the values of a metric in the order of steps.

    A run that was interrupted has a table for each start; the later one counts.

    Args:
        folder: Of the run.
        metric: Name of a column, such as ``val/dice``.
    """
    values: dict[int, float] = {}
    for path in find_tables(folder):
        for row in _rows(path):
            text, step = row.get(metric) or "", row.get("step") or ""
            if text and step.isdecimal():
                values[int(step)] = float(text)
    return [values[step] for step in sorted(values)]


def find_tables(folder: Path) -> list[Path]:
    """Return the tables of a run, in the order of its starts."""
    return sorted(folder.glob("*/version_*/metrics.csv"), key=_version)


def logged_names(folder: Path) -> list[str]:
    """Return the columns of a run's tables."""
    names: dict[str, None] = {}
    for path in find_tables(folder):
        with path.open(newline="", encoding="utf-8") as file:
            names.update(dict.fromkeys(next(csv.reader(file), [])))
    return list(names)


def _rows(path: Path) -> list[dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    # A training may be writing the last line now.
    return rows if text.endswith("\n") else rows[:-1]


def _version(path: Path) -> tuple[int, str]:
    found = re.fullmatch(r"version_(\d+)", path.parent.name)
    return int(found[1]) if found else -1, str(path)
