"""The comparison of arms as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from brainmvp_lightning.evaluation.intervals import Interval
from brainmvp_lightning.experiments.arms import share_text
from brainmvp_lightning.experiments.comparison import ArmRow
from brainmvp_lightning.experiments.results import RunScores

_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_NONE = "-"


@dataclass(frozen=True)
class Measure:
    """How a measure is written for readers.

    Attributes:
        title: With its unit.
        scale: Factor of the stored value.
        digits: After the point.
    """

    title: str
    scale: float = 1.0
    digits: int = 2

    def write(self, value: float | None) -> str:
        """Return a value as text, a dash for none."""
        if value is None or math.isnan(value):
            return _NONE
        return f"{self.scale * value:.{self.digits}f}"

    def write_ends(self, interval: Interval) -> str:
        """Return both ends of an interval as text."""
        if interval.low is None:
            return _NONE
        return f"[{self.write(interval.low)}, {self.write(interval.high)}]"


def measure_of(name: str) -> Measure:
    """Return how a measure is written; see `RunScores.measures`."""
    for prefix, title, scale in (("dice", "Dice", 100.0), ("hd95_mm", "HD95", 1.0)):
        if name.startswith(prefix):
            region = name.removeprefix(prefix).removeprefix("_")
            unit = "%" if prefix == "dice" else "mm"
            return Measure(f"{title} {region}".strip() + f" ({unit})", scale)
    return Measure({"auc": "AUC", "accuracy": "Accuracy", "f1": "F1"}[name], 1.0, 4)


def difference_measure(name: str) -> Measure:
    """Return how the difference of two arms is written: in what their cases are compared by."""
    if name == "auc":
        return Measure("probability of the true class", 1.0, 4)
    return Measure("Dice, percentage points", 100.0)


def write_run_rows(runs: Sequence[RunScores]) -> str:
    """Return a CSV table with a row for each run; scores are shares and millimetres."""
    measures = list(runs[0].measures) if runs else []
    counts = list(runs[0].counts) if runs else []
    rows = [
        [
            run.place.arm,
            share_text(run.place.fraction),
            run.place.seed,
            *(_exact(run.measures[name]) for name in measures),
            *(run.counts[name] for name in counts),
        ]
        for run in runs
    ]
    return _csv([["arm", "fraction", "seed", *measures, *counts], *rows])


def write_arm_rows(rows: Sequence[ArmRow]) -> str:
    """Return a CSV table with a row for each arm and share."""
    measures = list(rows[0].measures) if rows else []
    counts = [name for name in (rows[0].counts if rows else []) if name != "cases"]
    first = measures[0] if measures else "score"
    header = ["arm", "fraction", "runs", "cases", *measures, f"{first}_sd", f"{first}_low"]
    header += [f"{first}_high", *counts, "difference", "difference_low", "difference_high"]
    header += ["pairs", "p", "p_holm"]
    lines: list[list[object]] = [list(header)]
    for row in rows:
        line: list[object] = [row.arm, share_text(row.fraction), row.num_seeds, row.num_cases]
        line += [_exact(row.measures[name]) for name in measures]
        line += [_exact(row.spread), _exact(row.interval.low), _exact(row.interval.high)]
        line += [_exact(row.counts[name]) for name in counts]
        lines.append([*line, *_test_cells(row)])
    return _csv(lines)


def readable(rows: Sequence[ArmRow], reference: str) -> list[list[str]]:
    """Return header and rows for readers; scores are percent and millimetres."""
    if not rows:
        return [["arm"]]
    first, *others = rows[0].measures
    main, difference = measure_of(first), difference_measure(first)
    others = [name for name in others if not name.startswith("hd95_mm_")]
    counts = [name for name in rows[0].counts if name != "cases"]
    header = ["Training patients", "Arm", "Runs", "Cases", f"{main.title}, mean ± sd"]
    header += ["95 % interval", *(measure_of(name).title for name in others)]
    header += [f"{name.replace('_', ' ').capitalize()} a run" for name in counts]
    header += [f"Difference to {reference}", "95 % interval", "p (Holm)"]
    lines = [header]
    for row in rows:
        spread = f" ± {main.write(row.spread)}" if row.num_seeds > 1 else ""
        line = [f"{100 * row.fraction:g} %", row.arm, str(row.num_seeds), str(row.num_cases)]
        line += [main.write(row.measures[first]) + spread, main.write_ends(row.interval)]
        line += [measure_of(name).write(row.measures[name]) for name in others]
        line += [f"{row.counts[name]:.1f}" for name in counts]
        lines.append([*line, *_readable_test(row, difference)])
    is_one_share = len({row.fraction for row in rows}) == 1
    return [line[1:] for line in lines] if is_one_share else lines


def write_markdown(lines: Sequence[Sequence[str]], caption: str) -> str:
    """Return a table with its caption in Markdown."""
    texts = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---", "---"] + ["---:"] * (len(lines[0]) - 2)
    body = "\n".join(
        f"| {' | '.join(line)} |" for line in [texts[0], rule[: len(texts[0])], *texts[1:]]
    )
    return f"{caption}\n\n{body}\n"


def write_latex(lines: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """Return a table with its caption in LaTeX; needs the packages booktabs and graphicx."""
    header, *rows = [" & ".join(map(escape_latex, line)) + r" \\" for line in lines]
    columns = "ll" + "r" * (len(lines[0]) - 2)
    return "\n".join(
        [
            r"\begin{table}  % \usepackage{booktabs,graphicx}",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\label{{tab:{label}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            header,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def escape_latex(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    return "".join(_TEX.get(character, character) for character in text)


def _readable_test(row: ArmRow, measure: Measure) -> list[str]:
    if row.test is None or row.test.difference.estimate is None:
        return [_NONE] * 3
    estimate = measure.write(row.test.difference.estimate)
    sign = "" if estimate.startswith("-") else "+"
    return [sign + estimate, measure.write_ends(row.test.difference), _write_p(row.p_holm)]


def _write_p(p_value: float | None) -> str:
    if p_value is None:
        return _NONE
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def _test_cells(row: ArmRow) -> list[object]:
    if row.test is None:
        return [""] * 6
    difference = row.test.difference
    ends = [_exact(value) for value in (difference.estimate, difference.low, difference.high)]
    return [*ends, difference.n, _exact(row.test.p_value), _exact(row.p_holm)]


def _exact(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
