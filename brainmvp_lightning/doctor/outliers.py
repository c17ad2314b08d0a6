"""Scans whose intensities are unlike those of their data set and modality."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.doctor.facts import Look, ScanFacts, StudyFacts
from brainmvp_lightning.doctor.findings import Finding

MIN_GROUP = 8
MAX_Z = 6.0
_MAD_TO_SD = 1.4826  # of a normal distribution
_MIN_SPREAD = 0.25  # of a logarithm: scanners differ by a quarter and more without any fault
_SMALL = 1e-6

MEASURES = ("median intensity", "intensity range", "share of foreground")


@dataclass(frozen=True)
class Group:
    """Scans of one data set and modality.

    Args:
        dataset: Data set.
        modality: Canonical name.
        members: Study and scan; all have a `Look`.
        odd: Places in `members` of those that are unlike the others.
    """

    dataset: str
    modality: str
    members: tuple[tuple[str, ScanFacts], ...]
    odd: frozenset[int]


def group_scans(studies: Iterable[StudyFacts]) -> tuple[list[Group], list[Finding]]:
    """Group scans by data set and modality and find those unlike their group.

    The distance from the median of the group, in robust standard deviations, of three measures:
    logarithm of median and of range (1st to 99th percentile), log odds of the foreground's share.
    """
    by_name: dict[tuple[str, str], list[tuple[str, ScanFacts]]] = defaultdict(list)
    for study in studies:
        for scan in study.scans:
            if scan.look is not None:
                by_name[study.dataset, scan.modality].append((study.id, scan))
    groups, findings = [], []
    for (dataset, modality), members in by_name.items():
        looks = [scan.look for _, scan in members if scan.look is not None]
        scores = robust_scores(looks)
        odd: list[int] = np.flatnonzero(np.abs(scores).max(axis=1) > MAX_Z).tolist()
        groups.append(Group(dataset, modality, tuple(members), frozenset(odd)))
        findings += [_finding(members, index, scores[index], looks) for index in odd]
    return groups, findings


def robust_scores(looks: Sequence[Look]) -> NDArray[np.float64]:
    """Return the distances from the group, ``n 3``; zeros for groups below `MIN_GROUP`."""
    measures = np.array([_measures(look) for look in looks])
    if len(looks) < MIN_GROUP:
        return np.zeros_like(measures)
    offsets = measures - np.median(measures, axis=0)
    spread = _MAD_TO_SD * np.median(np.abs(offsets), axis=0)
    scores: NDArray[np.float64] = offsets / np.maximum(spread, _MIN_SPREAD)
    return scores


def _measures(look: Look) -> tuple[float, float, float]:
    share = min(max(look.share, _SMALL), 1 - _SMALL)
    return (
        float(np.log(max(abs(look.median), _SMALL))),
        float(np.log(max(look.high - look.low, _SMALL))),
        float(np.log(share / (1 - share))),
    )


def _finding(
    members: Sequence[tuple[str, ScanFacts]],
    index: int,
    scores: NDArray[np.float64],
    looks: Sequence[Look],
) -> Finding:
    worst = int(np.argmax(np.abs(scores)))
    values = [(look.median, look.high - look.low, look.share)[worst] for look in looks]
    study, scan = members[index]
    text = (
        f"its {MEASURES[worst]} is {values[index]:.3g}, that of the {len(looks)} "
        f"{scan.modality} of its data set {np.median(values):.3g} "
        f"({abs(scores[worst]):.0f} robust standard deviations away)"
    )
    fix = "look at it: another modality, another unit, a mask or a failed export"
    return Finding("outlier", "warning", study, str(scan.path), text, fix)
