"""Means with intervals and what was missed, for each run and group of cases."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from brainmvp_lightning.evaluation.class_tables import ClassScore
from brainmvp_lightning.evaluation.classification import summarise_classes
from brainmvp_lightning.evaluation.summary import summarise
from brainmvp_lightning.evaluation.tables import CaseScore
from brainmvp_lightning.reports.markup import score, table

_RESAMPLES = 1000


def counts_of_regions(runs: Sequence[tuple[str, Sequence[CaseScore]]]) -> str:
    """Return means with intervals and what was missed, for each run, group and region."""
    first: list[tuple[str, ...]] = []
    others: list[tuple[str, ...]] = []
    for name, rows in runs:
        grids: set[str] = set()  # the first group of each grid is the largest
        for block in summarise(rows, num=_RESAMPLES)["blocks"] if rows else ():
            space = block["space"]
            place = others if space in grids else first
            grids.add(space)
            for region, values in block["regions"].items():
                group = (*_group(block), escape(space), escape(region))
                place.append((escape(name), *group, *_counts(values)))
    heads = (
        "run data_set modalities grid region cases Dice 95_%_interval HD95_mm missed false_alarms "
        "both_empty lesions_found invented"
    )
    return _folded([head.replace("_", " ") for head in heads.split()], first, others)


def counts_of_classes(runs: Sequence[tuple[str, Sequence[ClassScore]]]) -> str:
    """Return metrics with intervals and confusions, for each run and group."""
    first: list[tuple[str, ...]] = []
    others: list[tuple[str, ...]] = []
    for name, rows in runs:
        if not rows:
            continue
        summary = summarise_classes(rows, num=_RESAMPLES)
        for number, block in enumerate(summary["blocks"]):
            metrics = block["metrics"]
            cells = [_with_interval(metrics[key]) for key in ("auc", "accuracy", "f1")]
            confusion = _confusion(summary["classes"], block["confusion"])
            row = (escape(name), *_group(block), str(block["cases"]), *cells, confusion)
            (others if number else first).append(row)
    heads = ("run", "data set", "modalities", "cases", "AUC", "accuracy", "F1", "confusions")
    return _folded(heads, first, others)


def _folded(
    heads: Sequence[str], first: Sequence[Sequence[str]], others: Sequence[Sequence[str]]
) -> str:
    """Return the table of the largest group of each run, and that of the others folded."""
    shown = table(heads, first, "counts")
    if not others:
        return shown
    return (
        f"{shown}<details><summary>Other groups: subsets of modalities, data sets "
        f"<small>{len(others)}</small></summary>{table(heads, others, 'counts')}</details>"
    )


def _group(block: Any) -> tuple[str, str]:  # noqa: ANN401 - plain JSON
    return escape(block["dataset"] or "all"), escape(block["modalities"] or "what each case has")


def _counts(values: Any) -> tuple[str, ...]:  # noqa: ANN401 - plain JSON
    dice, missed = values["dice"], str(values["missed"])
    return (
        str(values["n"]),
        score(dice["mean"]),
        _interval(dice),
        score(values["hd95_mm"]["mean"], 1),
        f'<b class="bad">{missed}</b>' if values["missed"] else missed,
        str(values["false_alarms"]),
        str(values["both_empty"]),
        f"{values['found_lesions']}/{values['lesions']}",
        str(values["invented_lesions"]),
    )


def _interval(values: Any) -> str:  # noqa: ANN401 - plain JSON
    low, high = values["low"], values["high"]
    return "" if low is None or high is None else f"{score(low)} to {score(high)}"


def _with_interval(metric: Any) -> str:  # noqa: ANN401 - plain JSON
    if metric["estimate"] is None:
        return f'<span class="hint">{escape(metric["note"] or "undefined")}</span>'
    return f"{score(metric['estimate'])} <small>{_interval(metric)}</small>"


def _confusion(classes: Sequence[str], rows: Sequence[Sequence[int]]) -> str:
    wrong = [
        f"{count} {truth} as {answer}"
        for truth, row in zip(classes, rows, strict=True)
        for answer, count in zip(classes, row, strict=True)
        if truth != answer and count
    ]
    return escape(", ".join(wrong)) or "none"
