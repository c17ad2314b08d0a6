"""A classification test run in numbers, each undefined one with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from brainmvp_lightning.evaluation.class_tables import ClassScore, class_names, sort_classes
from brainmvp_lightning.evaluation.groups import Group, group_rows
from brainmvp_lightning.evaluation.intervals import NUM_RESAMPLES, Interval, bootstrap
from brainmvp_lightning.evaluation.text_table import (
    align,
    format_ends,
    format_number,
    format_title,
)

Json = dict[str, Any]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def summarise_classes(
    rows: Iterable[ClassScore], *, num: int = NUM_RESAMPLES, level: float = 0.95, seed: int = 0
) -> Json:
    """Summarise a run in plain JSON values; the order of the rows does not matter.

    Each of `blocks` (see `group_rows`) has `dataset`, `modalities`, `cases`, `support` (cases of
    each class), `confusion` (a row per true, a column per predicted class) and `metrics`:
    `accuracy`, `balanced_accuracy` (mean recall), `auc` and `f1`, each with `estimate`, `low`,
    `high`, `n` and a `note`. With two classes, the last one is the positive one; with more, AUC is
    the mean of one class against the rest and F1 the mean over the classes. What a class absent
    from the cases leaves undefined is None, and the note says so. Intervals are bootstrapped
    within the classes.

    Args:
        rows: Of a test run.
        num: Resamples of the bootstrap.
        level: Probability of the intervals.
        seed: Of the draws.

    Raises:
        ValueError: If a study is there twice for the same modalities, or rows do not fit together.
    """
    ordered = sort_classes(rows)
    classes = class_names(ordered)
    options = {"num": num, "level": level, "seed": seed}
    blocks = [_block(group, classes, options) for group in group_rows(ordered)]
    return {
        "classes": list(classes),
        "level": level,
        "num_resamples": num,
        "seed": seed,
        "blocks": blocks,
    }


def format_classes(summary: Mapping[str, Any]) -> str:
    """Return what `summarise_classes` returned as text: metrics and confusion matrix."""
    share = f"{100 * summary['level']:g} %"
    tables = [_format_block(block, summary["classes"], share) for block in summary["blocks"]]
    return "\n\n".join(tables) or "no cases"


def confusion_matrix(truth: Counts, predicted: Counts, num_classes: int) -> Counts:
    """Count samples of cases, ``r n`` each, by true and predicted class, ``r k k``."""
    num = len(truth)
    cells = (np.arange(num)[:, None] * num_classes + truth) * num_classes + predicted
    counts = np.bincount(cells.ravel(), minlength=num * num_classes**2)
    matrices: Counts = counts.reshape(num, num_classes, num_classes)
    return matrices


def accuracy(confusion: Counts) -> Floats:
    """Share of right answers, ``r k k -> r``."""
    right: Floats = np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2))
    return right


def balanced_accuracy(confusion: Counts) -> Floats:
    """Mean share of right answers within each class, ``r k k -> r``; each must have cases."""
    recall = np.diagonal(confusion, axis1=1, axis2=2) / confusion.sum(axis=2)
    means: Floats = recall.mean(axis=1)
    return means


def f1_score(confusion: Counts, positive: int) -> Floats:
    """Harmonic mean of precision and recall of a class that has cases, ``r k k -> r``."""
    named = confusion[:, positive].sum(axis=1) + confusion[:, :, positive].sum(axis=1)
    scores: Floats = 2 * confusion[:, positive, positive] / named
    return scores


def auc(is_positive: NDArray[np.bool_], scores: Floats) -> Floats:
    """Area under the ROC curve, ``r n -> r``, by ranks; ties count half.

    Both classes must have cases.

    Source:
        Mann and Whitney 1947; Hanley and McNeil 1982.
    """
    positives = is_positive.sum(axis=1)
    ranks = np.where(is_positive, rankdata(scores, axis=1), 0).sum(axis=1)
    wins: Floats = ranks - positives * (positives + 1) / 2
    areas: Floats = wins / (positives * (is_positive.shape[1] - positives))
    return areas


def _block(group: Group[ClassScore], classes: Sequence[str], options: Json) -> Json:
    table = _table(group.rows, classes)
    truth, predicted = table[None, :, 0].astype(int), table[None, :, 1].astype(int)
    support = np.bincount(truth[0], minlength=len(classes))
    return {
        "dataset": group.dataset,
        "modalities": group.modalities,
        "cases": len(table),
        "support": {name: int(count) for name, count in zip(classes, support, strict=True)},
        "confusion": confusion_matrix(truth, predicted, len(classes))[0].tolist(),
        "metrics": _metrics(table, classes, support, options),
    }


def _table(rows: Sequence[ClassScore], classes: Sequence[str]) -> Floats:
    """Return true class, predicted class and probabilities of each case, ``n 2+k``."""
    place = {name: index for index, name in enumerate(classes)}
    return np.array(
        [[place[r.truth], place[r.predicted], *r.probabilities.values()] for r in rows], np.float64
    )


def _metrics(table: Floats, classes: Sequence[str], support: Counts, options: Json) -> Json:
    absent = [name for name, count in zip(classes, support, strict=True) if not count]
    binary = len(classes) == 2
    kinds = {"auc": "one class against the rest, mean", "f1": "mean over the classes"}
    if binary:
        kinds = dict.fromkeys(kinds, f"{classes[-1]} is positive")
    needed = {name: list(classes) for name in ("balanced_accuracy", "auc", "f1")}
    if binary:
        needed["f1"] = [classes[-1]]
    metrics: Json = {}
    for name, statistic in _statistics(len(classes)).items():
        missing = [one for one in needed.get(name, []) if one in absent]
        metrics[name] = _metric(table, statistic, missing, kinds.get(name, ""), options)
    return metrics


def _metric(
    table: Floats,
    statistic: Callable[[Floats], Floats],
    missing: Sequence[str],
    kind: str,
    options: Json,
) -> Json:
    if missing:
        reason = f"undefined, for no case is of class {', '.join(missing)}"
        return {**asdict(Interval(None, None, None, len(table))), "note": reason}
    interval = bootstrap(table, statistic, strata=table[:, 0], **options)
    return {**asdict(interval), "note": kind}


def _statistics(num_classes: int) -> dict[str, Callable[[Floats], Floats]]:
    """Return metrics of samples of the table, ``r n 2+k -> r``."""
    positives = [1] if num_classes == 2 else list(range(num_classes))

    def confusion(samples: Floats) -> Counts:
        truth, predicted = samples[..., 0].astype(int), samples[..., 1].astype(int)
        return confusion_matrix(truth, predicted, num_classes)

    def f1(samples: Floats) -> Floats:
        counts = confusion(samples)
        means: Floats = np.stack([f1_score(counts, one) for one in positives]).mean(axis=0)
        return means

    def area(samples: Floats) -> Floats:
        areas = [auc(samples[..., 0] == one, samples[..., 2 + one]) for one in positives]
        means: Floats = np.stack(areas).mean(axis=0)
        return means

    return {
        "accuracy": lambda samples: accuracy(confusion(samples)),
        "balanced_accuracy": lambda samples: balanced_accuracy(confusion(samples)),
        "auc": area,
        "f1": f1,
    }


def _format_block(block: Mapping[str, Any], classes: Sequence[str], share: str) -> str:
    metrics: list[tuple[str, ...]] = [("metric", "value", share)]
    notes = []
    for name, metric in block["metrics"].items():
        metrics.append((name, format_number(metric["estimate"], 4), format_ends(metric, 4)))
        notes += [f"{name}: {metric['note']}"] if metric["note"] else []
    confusion = [("truth \\ predicted", *classes)]
    for name, counts in zip(classes, block["confusion"], strict=True):
        confusion.append((name, *map(str, counts)))
    return "\n".join([format_title(block), align(metrics), *notes, align(confusion)])
