"""Sentences about a cohort, each with a fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from brainmvp_lightning.studies.problem import Problem

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

HEADINGS = {
    "row": "rows that cannot be used",
    "contradiction": "rows that contradict each other",
    "missing": "files that are not there",
    "unreadable": "files that cannot be read",
    "four_d": "files of several volumes",
    "constant": "images that show nothing",
    "nonfinite": "NaN or infinite voxels",
    "header": "odd headers",
    "handled": "oddities that are handled",
    "coarse": "coarse voxels",
    "far": "scans that do not overlap",
    "misplaced": "heads in different places",
    "scheme": "label schemes",
    "label": "labels that cannot be used",
    "label_values": "label values outside the scheme",
    "empty_label": "empty labels",
    "label_place": "labels away from the head",
    "label_grid": "labels on a grid of their own",
    "brain_mask": "brain masks",
    "same_voxels": "one image under two modalities",
    "leak": "the same image in two splits",
    "copy": "the same image twice",
    "names": "patients of one name in two data sets",
    "outlier": "intensities unlike the others",
    "resampled": "scans on different grids",
    "single": "studies of one modality",
    "sessions": "patients with several sessions",
    "splits": "splits",
    "classes": "classes",
    "no_scheme": "labels without a scheme",
    "killed": "studies that ended a process",
    "failed": "studies that could not be looked at",
    "tool": "programs that the recipe needs",
    "cache": "the cache folder",
    "disk": "room on the disk",
    "memory": "memory",
}


@dataclass(frozen=True)
class Finding:
    """One sentence about one file, one study or the whole cohort.

    Args:
        kind: A key of `HEADINGS`.
        severity: ``error``: it will be lost or will spoil results; ``warning``: look at it;
            ``note``: good to know.
        study: Id of the study; empty if it is about more than one.
        file: The file at fault; may be empty.
        sentence: What was found.
        fix: What to do.
    """

    kind: str
    severity: Severity
    study: str
    file: str
    sentence: str
    fix: str

    @property
    def order(self) -> tuple[int, int, str, str]:
        """Errors first, then by kind, study and file."""
        kinds = tuple(HEADINGS)
        return SEVERITIES.index(self.severity), kinds.index(self.kind), self.study, self.file


def from_problem(problem: Problem, kind: str, severity: Severity) -> Finding:
    """Return what another part of the program found as a finding."""
    return Finding(kind, severity, problem.study, problem.file, problem.reason, problem.remedy)


def count_severities(findings: Iterable[Finding]) -> dict[str, int]:
    """Return the number of errors, warnings and notes."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in SEVERITIES}
