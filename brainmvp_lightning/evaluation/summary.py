"""A segmentation test run in numbers: agreement per region, with what was missed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from brainmvp_lightning.evaluation.groups import Group, group_rows
from brainmvp_lightning.evaluation.intervals import NUM_RESAMPLES, bootstrap
from brainmvp_lightning.evaluation.segmentation import EmptyRule, Outcome
from brainmvp_lightning.evaluation.tables import CaseScore, sort_cases
from brainmvp_lightning.evaluation.text_table import (
    align,
    format_ends,
    format_number,
    format_title,
)

Json = dict[str, Any]
MEASURES = ("dice", "hd95_mm")
_COUNTED: dict[Outcome, str] = {
    "missed": "missed",
    "false_alarm": "false_alarms",
    "both_empty": "both_empty",
}


def summarise(
    rows: Iterable[CaseScore],
    *,
    rule: EmptyRule | None = None,
    num: int = NUM_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Json:
    """Summarise a run in plain JSON values; the order of the rows does not matter.

    Each of `blocks` averages what belongs together (see `group_rows`), the largest first:

    * `space`, `dataset` (None: several), `modalities` (None: those that each study has), `cases`;
    * `regions`: by name, `dice` and `hd95_mm` with `mean`, `low` and `high` (bootstrap over
      cases), `median`, `n`, and `num_excluded` by the rule for empty regions; how many were
      `missed`, `false_alarms` and `both_empty`; `lesions`, `found_lesions`, `invented_lesions`;
    * `mean_over_regions`: of the regions' means; None as soon as a region has none;
    * `mean_over_cases`: of each case's mean over its regions, with interval.

    Args:
        rows: Of a test run.
        rule: For empty regions, by which the rows were scored; only recorded, as `empty_rule`.
        num: Resamples of the bootstrap.
        level: Probability of the intervals.
        seed: Of the draws.

    Raises:
        ValueError: If a region of a study was scored twice for the same modalities.
    """
    ordered = sort_cases(rows)
    options = {"num": num, "level": level, "seed": seed}
    blocks = []
    for space in sorted({row.space for row in ordered}):
        groups = group_rows([row for row in ordered if row.space == space])
        blocks += [_block(space, group, options) for group in groups]
    return {
        "empty_rule": None if rule is None else asdict(rule),
        "level": level,
        "num_resamples": num,
        "seed": seed,
        "blocks": blocks,
    }


def format_summary(summary: Mapping[str, Any]) -> str:
    """Return what `summarise` returned as text, an aligned table for each block."""
    share = f"{100 * summary['level']:g} %"
    return "\n\n".join(_format_block(block, share) for block in summary["blocks"]) or "no cases"


def _block(space: str, group: Group[CaseScore], options: Json) -> Json:
    names = list(dict.fromkeys(row.region for row in group.rows))
    regions = {
        name: _region([row for row in group.rows if row.region == name], options) for name in names
    }
    cases: dict[tuple[str, str], list[CaseScore]] = {}
    for row in group.rows:
        cases.setdefault((row.dataset, row.study), []).append(row)
    return {
        "space": space,
        "dataset": group.dataset,
        "modalities": group.modalities,
        "cases": len(cases),
        "regions": regions,
        "mean_over_regions": {
            measure: _mean([region[measure]["mean"] for region in regions.values()])
            for measure in MEASURES
        },
        "mean_over_cases": {
            measure: _measure([_case_mean(case, measure) for case in cases.values()], options)
            for measure in MEASURES
        },
    }


def _region(rows: Sequence[CaseScore], options: Json) -> Json:
    outcomes = Counter(row.outcome for row in rows)
    return {
        "n": len(rows),
        **{
            measure: _measure([getattr(row, measure) for row in rows], options)
            for measure in MEASURES
        },
        **{plural: outcomes[outcome] for outcome, plural in _COUNTED.items()},
        "lesions": sum(row.lesions for row in rows),
        "found_lesions": sum(row.found_lesions for row in rows),
        "invented_lesions": sum(row.invented_lesions for row in rows),
    }


def _measure(values: Sequence[float], options: Json) -> Json:
    interval = asdict(bootstrap(values, **options))
    known = [value for value in values if not math.isnan(value)]
    return {
        "mean": interval["estimate"],
        "median": float(np.median(known)) if known else None,
        "low": interval["low"],
        "high": interval["high"],
        "n": interval["n"],
        "num_excluded": interval["num_missing"],
    }


def _case_mean(rows: Sequence[CaseScore], measure: str) -> float:
    """Average a case over the regions that count; NaN if none does."""
    values = [getattr(row, measure) for row in rows]
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _format_block(block: Mapping[str, Any], share: str) -> str:
    rows: list[tuple[str, ...]] = [
        ("region", "n", "Dice", share, "HD95 mm", share, "missed", "false alarms", "both empty")
    ]
    excluded = []
    for name, region in block["regions"].items():
        counts = (str(region[key]) for key in _COUNTED.values())
        rows.append((name, str(region["n"]), *_format_measures(region), *counts))
        left_out = region["hd95_mm"]["num_excluded"]
        excluded += [f"{name} {left_out}"] if left_out else []
    rows.append(
        ("mean", str(block["cases"]), *_format_measures(block["mean_over_cases"]), *[""] * 3)
    )
    note = [f"cases without HD95, by the rule for empty regions: {', '.join(excluded)}"]
    title = f"{format_title(block)}, {block['space']} space"
    return "\n".join([title, align(rows), *(note if excluded else [])])


def _format_measures(measures: Mapping[str, Any]) -> tuple[str, ...]:
    dice, distance = measures["dice"], measures["hd95_mm"]
    return (
        format_number(dice["mean"], 4),
        format_ends(dice, 4),
        format_number(distance["mean"], 2),
        format_ends(distance, 2),
    )
