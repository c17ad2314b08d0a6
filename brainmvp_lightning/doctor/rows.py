"""The rows of a manifest: what can be looked at, and what contradicts itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from brainmvp_lightning.doctor.findings import Finding, Severity, from_problem
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.study import Scan, study_id

Key = tuple[str, str]


@dataclass(frozen=True)
class Rows:
    """A manifest without contradictions.

    Args:
        manifest: Of contradicting values, each patient or study has the first.
        findings: About rows.
        contested: Data set and patient whose rows contradict each other.
    """

    manifest: Manifest
    findings: tuple[Finding, ...]
    contested: frozenset[Key]


def check_rows(manifest: Manifest, *, is_table: bool) -> Rows:
    """Find rows that cannot be used, repeat others or contradict each other.

    Args:
        manifest: As it was read.
        is_table: The user wrote the rows; otherwise an adapter passed over files by its rules.
    """
    severity: Severity = "error" if is_table else "warning"
    findings = [
        from_problem(problem, "handled", "note")
        if problem.is_handled
        else from_problem(problem, "row", severity)
        for problem in manifest.problems
    ]
    scans = list(manifest.scans)
    contested: set[Key] = set()
    scans = _agree(scans, "split", "patient", findings, contested)
    for name in ("target_class", "label", "label_scheme"):
        scans = _agree(scans, name, "study", findings, contested)
    unique = Manifest(tuple(scans)).validate()
    used = {str(scan.path) for scan in unique.scans}
    for problem in unique.problems:
        # A file that stands under two names is a mistake; a second T1 is only not used.
        severity = "error" if problem.file in used else "warning"
        findings.append(from_problem(problem, "row", severity))
    return Rows(Manifest(unique.scans), tuple(findings), frozenset(contested))


_WORDS = {"split": "splits", "target_class": "classes", "label": "labels"}


def _agree(
    scans: list[Scan], name: str, unit: str, findings: list[Finding], contested: set[Key]
) -> list[Scan]:
    values: dict[tuple[str, ...], list[object]] = defaultdict(list)
    for scan in scans:
        value = getattr(scan, name)
        if value is not None and value not in values[_key(scan, unit)]:
            values[_key(scan, unit)].append(value)
    for key, found in values.items():
        if len(found) > 1:
            contested.add((key[0], key[1]))
            listed = ", ".join(sorted(str(value) for value in found))
            text = f"{unit} {' '.join(part for part in key[1:] if part)} of {key[0]} has "
            text += f"{len(found)} {_WORDS.get(name, 'label schemes')} ({listed})"
            fix = f"give all rows of the {unit} the same {name.removeprefix('target_')}"
            study = study_id(key[0], key[1], key[2] if len(key) > 2 else "")
            findings.append(Finding("contradiction", "error", study, "", text, fix))
    agreed: list[Scan] = []
    for scan in scans:
        found = values[_key(scan, unit)]
        change: dict[str, Any] = {name: found[0]} if len(found) > 1 else {}
        agreed.append(replace(scan, **change))
    return agreed


def _key(scan: Scan, unit: str) -> tuple[str, ...]:
    patient = (scan.dataset, scan.patient)
    return patient if unit == "patient" else (*patient, scan.session)


def usable_manifest(
    manifest: Manifest, findings: Iterable[Finding], contested: frozenset[Key]
) -> Manifest:
    """Return the rows that no error speaks against; a label with an error loses its column.

    Args:
        manifest: What was looked at.
        findings: Those with severity ``error`` count.
        contested: Patients to leave out.
    """
    files = {finding.file for finding in findings if finding.severity == "error" and finding.file}
    kept = []
    for scan in manifest.scans:
        if str(scan.path) in files or (scan.dataset, scan.patient) in contested:
            continue
        label = None if str(scan.label) in files else scan.label
        mask = None if str(scan.brain_mask) in files else scan.brain_mask
        scheme = scan.label_scheme if label is not None else None
        kept.append(replace(scan, label=label, brain_mask=mask, label_scheme=scheme))
    return Manifest(tuple(kept))
