"""What a run of prepare has made, in numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.volumes.records import CachedScan, CachedStudy


@dataclass(frozen=True)
class Summary:
    """Numbers about a committed cache.

    Args:
        num_studies: Stored studies.
        num_new: Studies that this run had to prepare.
        num_partnered: Stored studies with at least two modalities.
        num_labels: Stored annotations.
        num_lossless: Stored scans without any quantisation error.
        scans_by_modality: Number of stored scans.
        studies_by_split: Number of stored studies.
        num_bytes: Length of all frames.
        worst_error: Largest quantisation error relative to the distance between the 1st and 99th
            percentile of its scan.
        problems: Files set aside, and oddities that were handled.
        counts_by_dataset: Stored scans by data set and modality.
        studies_by_dataset: Number of stored studies.
        num_waiting: Studies of other shards that are not finished; 0 once the cache is committed.
        num_checked: Stored volumes whose bytes were checked.
        num_damaged: Those among them that were damaged.
        is_changed: The committed index is another one than before, or was not there.
    """

    num_studies: int
    num_new: int
    num_partnered: int
    num_labels: int
    num_lossless: int
    scans_by_modality: dict[str, int]
    studies_by_split: dict[str, int]
    num_bytes: int
    worst_error: float
    problems: tuple[Problem, ...]
    counts_by_dataset: dict[str, dict[str, int]] = field(default_factory=dict)
    studies_by_dataset: dict[str, int] = field(default_factory=dict)
    num_waiting: int = 0
    num_checked: int = 0
    num_damaged: int = 0
    is_changed: bool = False

    @property
    def rejected(self) -> tuple[Problem, ...]:
        """Files that are not in the cache."""
        return tuple(problem for problem in self.problems if not problem.is_handled)


def summarise(studies: Sequence[CachedStudy], problems: Sequence[Problem], num_new: int) -> Summary:
    """Count what is stored."""
    scans = [scan for study in studies for scan in study.scans]
    labels = [study.label for study in studies if study.label is not None]
    return Summary(
        num_studies=len(studies),
        num_new=num_new,
        num_partnered=sum(len(study.scans) > 1 for study in studies),
        num_labels=len(labels),
        num_lossless=sum(scan.quantisation_error == 0 for scan in scans),
        scans_by_modality=dict(Counter(scan.modality for scan in scans)),
        studies_by_split=dict(Counter(study.split for study in studies)),
        num_bytes=sum(scan.num_bytes for scan in (*scans, *labels)),
        worst_error=max(map(_relative_error, scans), default=0.0),
        problems=tuple(problems),
        counts_by_dataset=_by_dataset(studies),
        studies_by_dataset=dict(Counter(study.dataset for study in studies)),
    )


def _by_dataset(studies: Sequence[CachedStudy]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for study in studies:
        counts[study.dataset].update(scan.modality for scan in study.scans)
    return {dataset: dict(counter) for dataset, counter in counts.items()}


def _relative_error(scan: CachedScan) -> float:
    foreground = scan.percentiles["foreground"]
    distance = foreground["99"] - foreground["1"]
    return scan.quantisation_error / distance if distance > 0 else 0.0
