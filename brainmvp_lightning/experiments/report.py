"""Tables and plots of an experiment, made from what its runs have left."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.experiments.comparison import ArmRow, compare_arms
from brainmvp_lightning.experiments.figures import draw_ablation, draw_label_efficiency
from brainmvp_lightning.experiments.plan import Plan
from brainmvp_lightning.experiments.results import RunScores, read_results
from brainmvp_lightning.experiments.tables import (
    difference_measure,
    measure_of,
    readable,
    write_arm_rows,
    write_latex,
    write_markdown,
    write_run_rows,
)
from brainmvp_lightning.volumes.atomic import write_bytes

_DRAW = {"label_efficiency": draw_label_efficiency, "ablation": draw_ablation}


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        rows: The comparison.
        files: The files.
        missing: Runs of the plan that have no scores yet.
    """

    rows: list[ArmRow]
    files: list[Path]
    missing: list[str]


def write_report(plan: Plan, folder: Path, left_out: Container[str] = ()) -> Report:
    """Write ``results.csv``, ``table.csv``, ``table.md``, ``table.tex`` and the plot.

    Each file is replaced as a whole. Nothing is written while no run has scores.

    Args:
        plan: What is compared.
        folder: Where the files go.
        left_out: Cells whose scores do not count; see `markers.left_out`.

    Raises:
        ValueError: If scores are damaged, or the runs did different tasks.
        OSError: If a file cannot be written.
    """
    runs = read_results([place for place in plan.places if place.cell not in left_out])
    tested = {run.place.cell for run in runs}
    missing = [place.cell for place in plan.places if place.cell not in tested]
    if not runs:
        return Report([], [], missing)
    rows = compare_arms(runs, plan.arms)
    lines = readable(rows, plan.arms[0])
    caption = describe_table(plan, rows, runs)
    figure = _DRAW[plan.kind](rows, plan.arms, describe_figure(plan, rows, runs))
    contents = {
        "results.csv": write_run_rows(runs).encode(),
        "table.csv": write_arm_rows(rows).encode(),
        "table.md": write_markdown(lines, caption).encode(),
        "table.tex": write_latex(lines, caption, plan.kind.replace("_", "-")).encode(),
        f"{plan.kind}.png": figure,
    }
    for name, content in contents.items():
        write_bytes(folder / name, content)
    return Report(rows, [folder / name for name in contents], missing)


def describe_table(plan: Plan, rows: Sequence[ArmRow], runs: Sequence[RunScores]) -> str:
    """Return a caption that says what each number is."""
    name = next(iter(rows[0].measures))
    num_tests = sum(row.p_holm is not None for row in rows)
    text = (
        f"{_subject(plan)} {_score(name)} on {_cases(rows)}; mean ± standard deviation over runs "
        "that differ in their seed, and 95 % bootstrap interval over the cases."
    )
    if num_tests:
        share = "" if plan.kind == "ablation" else " with the same share of the training patients"
        text += (
            f" Differences to the arm {plan.arms[0]}{share}: mean "
            f"({difference_measure(name).title}) with 95 % bootstrap interval; p of the two-sided "
            "Wilcoxon signed-rank test on cases paired by study, their values averaged over runs, "
            f"corrected by Holm for the {num_tests} comparison{'s' if num_tests > 1 else ''} of "
            "this table."
        )
    return text + _gaps(plan, rows, runs)


def describe_figure(plan: Plan, rows: Sequence[ArmRow], runs: Sequence[RunScores]) -> str:
    """Return a caption that says what each mark is."""
    name = next(iter(rows[0].measures))
    return (
        f"{_subject(plan)} {_score(name)} on {_cases(rows)}. Large marks: mean over runs that "
        "differ in their seed; bars: 95 % bootstrap interval over the cases; dots: single runs."
    ) + _gaps(plan, rows, runs)


def _subject(plan: Plan) -> str:
    if plan.kind == "ablation":
        return "Fine-tuning after different pre-trainings:"
    return "Fine-tuning with a part of the training patients (smaller parts lie in larger ones):"


def _score(name: str) -> str:
    if name == "dice":
        return "mean Dice over the regions of a case (%)"
    return f"{measure_of(name).title}"


def _cases(rows: Sequence[ArmRow]) -> str:
    counts = sorted({row.num_cases for row in rows})
    if len(counts) == 1:
        return f"{counts[0]} test case{'s' if counts[0] != 1 else ''}"
    return f"{counts[0]} to {counts[-1]} test cases"


def _gaps(plan: Plan, rows: Sequence[ArmRow], runs: Sequence[RunScores]) -> str:
    text = ""
    if len(runs) < len(plan.places):
        text += f" Unfinished: {len(runs)} of {len(plan.places)} runs."
    shared = {(row.arm, row.fraction): row.num_cases for row in rows}
    uneven = [r for r in runs if r.counts["cases"] != shared[r.place.arm, r.place.fraction]]
    if uneven:
        text += (
            f" {len(uneven)} of the runs have cases that others of their arm lack; intervals and "
            "tests use the shared ones."
        )
    return text
