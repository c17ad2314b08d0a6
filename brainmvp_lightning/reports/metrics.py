"""The logged numbers of a run, from all its log folders, joined by step."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_AXES = ("epoch", "step")


@dataclass(frozen=True)
class Curve:
    """One metric over the steps of a run; values that are not finite are left out.

    Attributes:
        steps: Ascending.
        values: One for each step.
        num_gaps: Values that were NaN or infinite.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    num_gaps: int = 0


@dataclass(frozen=True)
class Logs:
    """What was logged.

    Attributes:
        curves: Of training and validation, by metric.
        last_step: Highest step of the training; -1 without one.
        last_epoch: Highest epoch, counted from 0; -1 without one.
        num_parts: Log folders that belong to the training: one more than it was resumed.
        faults: One sentence for each file that is damaged.
    """

    curves: Mapping[str, Curve] = field(default_factory=dict)
    last_step: int = -1
    last_epoch: int = -1
    num_parts: int = 0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    points: dict[str, dict[int, float]]
    last_epoch: int
    is_fresh: bool

    @property
    def is_training(self) -> bool:
        return any(name.startswith("train/") for name in self.points)

    @property
    def first_step(self) -> int:
        return min(min(points) for name, points in self.points.items() if points)


def read_logs(folder: Path) -> Logs:
    """Read ``version_N/metrics.csv`` of a run's ``logs`` folder.

    Where a resumed training repeated steps, the later log counts. Logs of tests and validations
    alone belong to no curve, nor do those before the last training that began afresh.
    """
    parts: list[_Part] = []
    faults: list[str] = []
    for path in sorted(folder.glob("*/metrics.csv"), key=_version):
        part, sentences = _read_part(path)
        faults += sentences
        if part is not None and part.is_training:
            parts = [] if part.is_fresh else parts
            parts.append(part)
    joined: dict[str, dict[int, float]] = {}
    for part in parts:
        for points in joined.values():
            for step in [step for step in points if step >= part.first_step]:
                del points[step]
        for name, points in part.points.items():
            joined.setdefault(name, {}).update(points)
    steps = [step for points in joined.values() for step in points]
    curves = {name: _curve(points) for name, points in sorted(joined.items()) if points}
    gaps = {name: curve.num_gaps for name, curve in curves.items() if curve.num_gaps}
    if gaps:
        words = ", ".join(f"{count} of {name}" for name, count in gaps.items())
        faults.append(f"logs: values that are not finite are gaps in the curves: {words}")
    return Logs(
        curves=curves,
        last_step=max(steps, default=-1),
        last_epoch=parts[-1].last_epoch if parts else -1,
        num_parts=len(parts),
        faults=tuple(faults),
    )


def thin(curve: Curve, most: int) -> Curve:
    """Return at most about `most` points: the lowest and the highest of each stretch."""
    count = len(curve.steps)
    if count <= most:
        return curve
    kept = {0, count - 1}
    width = math.ceil(2 * count / most)
    for start in range(0, count, width):
        stretch = range(start, min(start + width, count))
        kept |= {min(stretch, key=curve.values.__getitem__)}
        kept |= {max(stretch, key=curve.values.__getitem__)}
    order = sorted(kept)
    return Curve(
        tuple(curve.steps[i] for i in order), tuple(curve.values[i] for i in order), curve.num_gaps
    )


def _version(path: Path) -> tuple[int, str]:
    found = re.search(r"(\d+)$", path.parent.name)
    return (int(found.group()) if found else -1, path.parent.name)


def _read_part(path: Path) -> tuple[_Part | None, list[str]]:
    name = f"logs/{path.parent.name}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
        header, *lines = list(csv.reader(text.splitlines())) or [[]]
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return None, [f"{name} cannot be read ({reason}); its curves are missing"]
    if "step" not in header:
        return None, [f"{name} has no column 'step'; its curves are missing"]
    points: dict[str, dict[int, float]] = {}
    num_broken, last_epoch = 0, -1
    for cells in lines:
        row = _numbers(header, cells)
        if row is None:
            num_broken += 1
            continue
        step = int(row["step"])
        last_epoch = max(last_epoch, int(row.get("epoch", -1)))
        for metric, value in row.items():
            if metric not in _AXES:
                points.setdefault(metric, {})[step] = value
    faults = []
    if num_broken:
        lines_are = "line is" if num_broken == 1 else "lines are"
        faults = [f"{name}: {num_broken} broken {lines_are} left out"]
    is_fresh = _is_fresh(path.with_name("start.json"))
    return (_Part(points, last_epoch, is_fresh) if points else None), faults


def _is_fresh(start: Path) -> bool:
    """Tell whether a training is known to have gone on from no checkpoint of its folder."""
    try:
        facts = json.loads(start.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # logs of earlier versions have no such file
    return isinstance(facts, dict) and facts.get("continues") is False


def _numbers(header: Sequence[str], cells: Sequence[str]) -> dict[str, float] | None:
    """Return the numbers of a line, or None if it is broken."""
    if len(cells) != len(header):
        return None
    try:
        row = {name: float(cell) for name, cell in zip(header, cells, strict=True) if cell != ""}
    except ValueError:
        return None
    is_whole = all(math.isfinite(row[axis]) for axis in _AXES if axis in row)
    return row if "step" in row and is_whole else None


def _curve(points: Mapping[int, float]) -> Curve:
    finite = {step: value for step, value in sorted(points.items()) if math.isfinite(value)}
    return Curve(tuple(finite), tuple(finite.values()), len(points) - len(finite))
