"""The same image in several places, found by its content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.doctor.facts import StudyFacts
from brainmvp_lightning.doctor.findings import Finding

_KEEP = ("test", "val", "train")  # a copy is taken out of training, not out of the test set


@dataclass(frozen=True)
class Copy:
    """A file, and whose it is.

    Args:
        study: The study it belongs to.
        name: Modality, or ``label``.
        path: The file.
    """

    study: StudyFacts
    name: str
    path: Path

    @property
    def patient(self) -> tuple[str, str]:
        """Data set and patient."""
        return self.study.dataset, self.study.patient

    def __str__(self) -> str:
        return f"{self.name} of {self.study.id} ({self.study.split})"


def find_duplicates(studies: Iterable[StudyFacts]) -> list[tuple[Copy, ...]]:
    """Return groups of files with the same voxels, each of two or more."""
    groups: dict[str, list[Copy]] = defaultdict(list)
    for study in studies:
        for scan in study.scans:
            if scan.look is not None:
                groups[scan.look.digest].append(Copy(study, scan.modality, scan.path))
        if study.label is not None and study.label.values:
            groups[study.label.digest].append(Copy(study, "label", study.label.path))
    return [tuple(group) for group in groups.values() if len(group) > 1]


def check_duplicates(groups: Iterable[tuple[Copy, ...]]) -> list[Finding]:
    """Return a finding for each copy: two modalities, two splits, two patients, two sessions."""
    return [finding for group in groups for finding in _judge(group)]


def _judge(group: tuple[Copy, ...]) -> list[Finding]:
    labels = {copy.path for copy in group if copy.name == "label"}
    scans = [copy for copy in group if copy.name != "label"]
    findings = _within_studies(group)
    named = {finding.file for finding in findings}
    if len({copy.study.split for copy in scans}) > 1 and _several(scans):
        return findings + _leaks([copy for copy in scans if str(copy.path) not in named])
    first, *others = sorted(group, key=lambda copy: copy.study.id)
    if len(labels) > 1 or (len({copy.study.id for copy in scans}) > 1):
        findings += [_second(copy, first) for copy in others if str(copy.path) not in named]
    return findings


def _several(copies: Sequence[Copy]) -> bool:
    return len({copy.study.id for copy in copies}) > 1


def _within_studies(group: Sequence[Copy]) -> list[Finding]:
    by_study: dict[str, list[Copy]] = defaultdict(list)
    for copy in group:
        by_study[copy.study.id].append(copy)
    findings = []
    for study, copies in by_study.items():
        for copy in copies if len(copies) > 1 else ():
            others = " and ".join(other.name for other in copies if other is not copy)
            text = f"its voxels, as {copy.name}, are those of {others} of the same study"
            fix = "find out which one is right and correct the other row"
            findings.append(Finding("same_voxels", "error", study, str(copy.path), text, fix))
    return findings


def _leaks(copies: Sequence[Copy]) -> list[Finding]:
    ordered = sorted(copies, key=lambda copy: (_KEEP.index(copy.study.split), copy.study.id))
    if not ordered:
        return []
    kept = ordered[0]
    findings = []
    for copy in ordered[1:]:
        if copy.study.split == kept.study.split:
            findings.append(_second(copy, kept))
            continue
        text = f"{copy} has the voxels of {kept}: {kept.study.split} data leak into training"
        if copy.study.split != "train":
            text = f"{copy} has the voxels of {kept}"
        fix = (
            f"leave this one out, or put both patients into {kept.study.split} "
            "(one row per patient with that split is enough)"
        )
        findings.append(Finding("leak", "error", copy.study.id, str(copy.path), text, fix))
    return findings


def _second(copy: Copy, first: Copy) -> Finding:
    what = "of another patient" if copy.patient != first.patient else "of another session"
    text = f"{copy} has the voxels of {first}, {what}"
    fix = "find out whose it is, and leave the other one out"
    return Finding("copy", "warning", copy.study.id, str(copy.path), text, fix)
