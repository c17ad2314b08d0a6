"""The few numbers of a test that are compared between runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from brainmvp_lightning.evaluation.class_tables import ClassScore
from brainmvp_lightning.evaluation.classification import summarise_classes
from brainmvp_lightning.evaluation.summary import summarise
from brainmvp_lightning.evaluation.tables import CaseScore

Row = TypeVar("Row", CaseScore, ClassScore)


def with_most_modalities(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of each case with the most modalities it was shown with."""
    most: dict[tuple[str, str], int] = {}
    for row in rows:
        key, count = (row.dataset, row.study), _count(row)
        most[key] = max(count, most.get(key, 0))
    return [row for row in rows if _count(row) == most[row.dataset, row.study]]


def headline(rows: Sequence[Row]) -> dict[str, float]:
    """Return the means over all cases, each with all modalities it has, in whatever space.

    Args:
        rows: Of a test run.

    Returns:
        ``cases``; ``dice``, ``hd95_mm``, ``dice_<region>`` and ``hd95_mm_<region>``, or the metrics
        of classes by name. What is undefined is left out.
    """
    # Names of studies are unique in a cache, so data sets can share a name.
    complete = with_most_modalities(rows)
    segmented: list[CaseScore] = []
    classified: list[ClassScore] = []
    for row in complete:
        if isinstance(row, CaseScore):
            segmented.append(replace(row, dataset="all", modalities="all", space="any"))
        else:
            classified.append(replace(row, dataset="all", modalities="all"))
    if classified:
        block = summarise_classes(classified, num=1)["blocks"][0]
        values = {name: metric["estimate"] for name, metric in block["metrics"].items()}
    else:
        block = summarise(segmented, num=1)["blocks"][0]
        values = {name: measure["mean"] for name, measure in block["mean_over_cases"].items()}
        for region, scores in block["regions"].items():
            values |= {f"{name}_{region}": scores[name]["mean"] for name in ("dice", "hd95_mm")}
    known: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    return {"cases": float(block["cases"]), **{name: float(v) for name, v in known.items()}}


def _count(row: CaseScore | ClassScore) -> int:
    return row.modalities.count("+") + 1
