"""Arms of an experiment in numbers: mean over seeds, intervals over cases, paired tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.evaluation.classification import auc
from brainmvp_lightning.evaluation.intervals import (
    Interval,
    PairedTest,
    bootstrap,
    holm,
    paired_test,
)
from brainmvp_lightning.experiments.results import RunScores, Study, mean_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ArmRow:
    """One arm with one share of the training patients.

    Attributes:
        arm: Its name.
        fraction: The share.
        num_seeds: Runs that have been tested.
        num_cases: Test cases that all these runs have.
        measures: Mean of the runs, by measure.
        spread: Standard deviation of the headline measure over the runs; None of less than two
            finite values.
        interval: Of the headline measure, averaged over the runs, over the cases.
        values: The headline measure of each run.
        counts: Mean of the runs' counts.
        test: Against the first arm with the same share; None for the first arm, or without cases
            that both have.
        p_holm: Its p-value, corrected for all comparisons of the experiment.
    """

    arm: str
    fraction: float
    num_seeds: int
    num_cases: int
    measures: Mapping[str, float]
    spread: float | None
    interval: Interval
    values: tuple[float, ...]
    counts: Mapping[str, float]
    test: PairedTest | None = None
    p_holm: float | None = None


def compare_arms(runs: Sequence[RunScores], arms: Sequence[str]) -> list[ArmRow]:
    """Summarise each arm and share, and test the arms against the first one.

    Cases are paired by study, their values averaged over seeds before.

    Args:
        runs: Tested runs.
        arms: Names in the order of the plan.
    """
    groups: dict[tuple[float, int], list[RunScores]] = {}
    for run in runs:
        key = run.place.fraction, arms.index(run.place.arm)
        groups.setdefault(key, []).append(run)
    rows, cases = [], {}
    for (fraction, number), group in sorted(groups.items()):
        cases[fraction, number] = _average_cases(group)
        row = _summarise(group)
        reference = cases.get((fraction, 0))
        if number and reference is not None:
            row = replace(row, test=_test(reference, cases[fraction, number]))
        rows.append(row)
    return _correct(rows)


def headline(runs: Sequence[RunScores]) -> str:
    """Return the name of the measure that arms are compared by."""
    return next(iter(runs[0].measures))


def _summarise(group: Sequence[RunScores]) -> ArmRow:
    first = group[0]
    name = headline(group)
    values = tuple(run.measures[name] for run in group)
    cases = _average_cases(group)
    is_classification = bool(first.answers)
    return ArmRow(
        first.place.arm,
        first.place.fraction,
        len(group),
        len(cases),
        {key: mean_of(run.measures[key] for run in group) for key in first.measures},
        _spread(values),
        _auc_interval(group, list(cases)) if is_classification else bootstrap(list(cases.values())),
        values,
        {key: mean_of(run.counts[key] for run in group) for key in first.counts},
    )


def _spread(values: Sequence[float]) -> float | None:
    """Return the standard deviation of the finite values, None of less than two."""
    known = [value for value in values if math.isfinite(value)]
    return statistics.stdev(known) if len(known) > 1 else None


def _average_cases(group: Sequence[RunScores]) -> dict[Study, float]:
    """Average each study that all runs have over the runs."""
    shared = [study for study in group[0].cases if all(study in run.cases for run in group)]
    return {study: mean_of(run.cases[study] for run in group) for study in shared}


def _test(reference: Mapping[Study, float], other: Mapping[Study, float]) -> PairedTest | None:
    shared = [study for study in reference if study in other]
    if not shared:
        return None
    return paired_test([reference[s] for s in shared], [other[s] for s in shared])


def _auc_interval(group: Sequence[RunScores], studies: Sequence[Study]) -> Interval:
    """Resample the cases within their classes; the AUC of a resample is the mean over the runs."""
    truth = [group[0].answers[study].truth for study in studies]
    num_classes = len(next(iter(group[0].answers.values())).probabilities)
    if len(set(truth)) < num_classes:
        return Interval(None, None, None, len(studies))
    table = np.array(
        [
            [group[0].answers[study].truth, *(p for run in group for p in _answer(run, study))]
            for study in studies
        ]
    )
    return bootstrap(table, _mean_auc(len(group), num_classes), strata=truth)


def _answer(run: RunScores, study: Study) -> tuple[float, ...]:
    return run.answers[study].probabilities


def _mean_auc(num_runs: int, num_classes: int) -> Callable[[Floats], Floats]:
    # Of two classes the last one is the positive one; of more, each against the rest.
    counted = [1] if num_classes == 2 else list(range(num_classes))

    def statistic(samples: Floats) -> Floats:
        areas = [
            auc(samples[..., 0] == one, samples[..., 1 + run * num_classes + one])
            for run in range(num_runs)
            for one in counted
        ]
        means: Floats = np.stack(areas).mean(axis=0)
        return means

    return statistic


def _correct(rows: Sequence[ArmRow]) -> list[ArmRow]:
    p_values = [
        row.test.p_value if row.test is not None and row.test.p_value is not None else math.nan
        for row in rows
    ]
    tested = [place for place, p in enumerate(p_values) if not math.isnan(p)]
    corrected = dict(zip(tested, holm([p_values[place] for place in tested]), strict=True))
    return [replace(row, p_holm=corrected.get(place)) for place, row in enumerate(rows)]
