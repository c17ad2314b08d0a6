"""Scores of the tested runs of an experiment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from brainmvp_lightning.evaluation.class_tables import ClassScore, class_names, read_classes
from brainmvp_lightning.evaluation.classification import summarise_classes
from brainmvp_lightning.evaluation.csv_files import read_csv
from brainmvp_lightning.evaluation.groups import Case
from brainmvp_lightning.evaluation.headline import with_most_modalities
from brainmvp_lightning.evaluation.tables import CaseScore, read_cases
from brainmvp_lightning.experiments.cells import Place

Study = tuple[str, str]
"""Data set and id."""

CLASS_MEASURES = ("auc", "accuracy", "f1")
AnyCase = TypeVar("AnyCase", bound=Case)


@dataclass(frozen=True)
class Answer:
    """What a classifier said about one study: number of its true class, and probabilities."""

    truth: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class RunScores:
    """One tested run.

    Attributes:
        place: Where it stands.
        measures: Averages over its cases, the headline first: ``dice``, ``dice_<region>``,
            ``hd95_mm``, ``hd95_mm_<region>``, or ``auc``, ``accuracy``, ``f1``; NaN where no case
            counts.
        counts: ``cases`` and, of a segmentation, regions that were ``misses`` and
            ``false_alarms``.
        cases: The value by which arms are compared, for each study: its mean Dice over regions, or
            the probability that it was given of its true class; NaN where the rule for empty
            regions leaves out all regions.
        answers: Of a classification.
    """

    place: Place
    measures: Mapping[str, float]
    counts: Mapping[str, int]
    cases: Mapping[Study, float]
    answers: Mapping[Study, Answer] = field(default_factory=dict)


def read_results(places: Sequence[Place]) -> list[RunScores]:
    """Read the scores of all runs that have been tested.

    Where a study was scored with several subsets of its modalities, the largest one counts; where
    it was scored on several grids, that of its file.

    Raises:
        ValueError: If a table is damaged, or the runs did different tasks.
    """
    runs = [_read(place) for place in places if place.cases.is_file()]
    for run in runs:
        if list(run.measures) != list(runs[0].measures):
            raise ValueError(
                f"{runs[0].place.cell} has scores {', '.join(runs[0].measures)}, but "
                f"{run.place.cell} has {', '.join(run.measures)}; the runs of an experiment must "
                "do one task"
            )
    return runs


def mean_of(values: Iterable[float]) -> float:
    """Average what is known; NaN if nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _read(place: Place) -> RunScores:
    header, _ = read_csv(place.cases)
    if "region" in header:
        return _segmentation(place, read_cases(place.cases))
    return _classification(place, read_classes(place.cases))


def _segmentation(place: Place, rows: Sequence[CaseScore]) -> RunScores:
    is_native = any(row.space == "native" for row in rows)
    kept = with_most_modalities([row for row in rows if row.space == "native" or not is_native])
    by_study: dict[Study, list[float]] = {}
    for row in kept:
        by_study.setdefault((row.dataset, row.study), []).append(row.dice)
    cases = {study: mean_of(values) for study, values in sorted(by_study.items())}
    regions = sorted(dict.fromkeys(row.region for row in kept))
    dice = {r: mean_of(row.dice for row in kept if row.region == r) for r in regions}
    distance = {r: mean_of(row.hd95_mm for row in kept if row.region == r) for r in regions}
    measures = {"dice": mean_of(cases.values())}
    measures |= {f"dice_{region}": value for region, value in dice.items()}
    measures["hd95_mm"] = mean_of(distance.values())
    measures |= {f"hd95_mm_{region}": value for region, value in distance.items()}
    counts = {
        "cases": len(cases),
        "misses": sum(row.outcome == "missed" for row in kept),
        "false_alarms": sum(row.outcome == "false_alarm" for row in kept),
    }
    return RunScores(place, measures, counts, cases)


def _classification(place: Place, rows: Sequence[ClassScore]) -> RunScores:
    kept = sorted(with_most_modalities(rows), key=lambda row: (row.dataset, row.study))
    classes = class_names(kept)
    # Studies may differ in their modalities; here they are one group all the same.
    summary = summarise_classes([_of_one_group(row) for row in kept], num=1)
    metrics = summary["blocks"][0]["metrics"] if kept else {}
    measures = {
        name: math.nan
        if metrics.get(name, {}).get("estimate") is None
        else float(metrics[name]["estimate"])
        for name in CLASS_MEASURES
    }
    answers = {
        (row.dataset, row.study): Answer(
            classes.index(row.truth), tuple(row.probabilities.values())
        )
        for row in kept
    }
    cases = {study: answer.probabilities[answer.truth] for study, answer in answers.items()}
    return RunScores(place, measures, {"cases": len(cases)}, cases, answers)


def _of_one_group(row: ClassScore) -> ClassScore:
    return ClassScore(
        f"{row.dataset}/{row.study}", "", row.split, "", row.truth, row.predicted, row.probabilities
    )
