"""Everything that the doctor found, as one record and as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from brainmvp_lightning.doctor.cohort import (
    Availability,
    availability,
    check_cohort,
    check_schemes,
    class_table,
    split_table,
)
from brainmvp_lightning.doctor.duplicates import Copy, check_duplicates, find_duplicates
from brainmvp_lightning.doctor.facts import ScanFacts, StudyFacts
from brainmvp_lightning.doctor.findings import Finding, count_severities
from brainmvp_lightning.doctor.outliers import Group, group_scans
from brainmvp_lightning.doctor.prediction import Prediction, check_prediction
from brainmvp_lightning.studies.labels import LabelScheme

FORMAT = 1


@dataclass(frozen=True)
class Report:
    """What was found.

    Args:
        source: What was looked at, in words.
        quick: Only headers were read.
        studies: In the order of the manifest.
        findings: Errors first.
        availability: By data set.
        splits: Studies by data set and split.
        classes: Studies by data set, class and split.
        duplicates: Files with the same voxels.
        groups: Scans by data set and modality, and which are unlike the others.
        prediction: None if no study can be used.
    """

    source: str
    quick: bool
    studies: tuple[StudyFacts, ...]
    findings: tuple[Finding, ...]
    availability: dict[str, Availability]
    splits: dict[str, dict[str, int]]
    classes: dict[str, dict[str, dict[str, int]]]
    duplicates: tuple[tuple[Copy, ...], ...]
    groups: tuple[Group, ...]
    prediction: Prediction | None

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of what was looked at, and of findings by severity."""
        usable = [study for study in self.studies if study.scans]
        scans = [scan for study in usable for scan in study.scans]
        severities = count_severities(self.findings)
        return {
            "datasets": len({study.dataset for study in self.studies}),
            "patients": len({(study.dataset, study.patient) for study in self.studies}),
            "studies": len(self.studies),
            "readable_studies": len(usable),
            "scans": len(scans),
            "labels": sum(study.label is not None for study in usable),
            "bytes": sum(scan.num_bytes for scan in scans),
            "errors": severities["error"],
            "warnings": severities["warning"],
            "notes": severities["note"],
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the keys are the same for every cohort."""
        return {
            "format": FORMAT,
            "source": self.source,
            "quick": self.quick,
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
            "availability": {name: _available(row) for name, row in self.availability.items()},
            "splits": self.splits,
            "classes": self.classes,
            "duplicates": [
                [
                    {
                        "study": copy.study.id,
                        "split": copy.study.split,
                        "name": copy.name,
                        "file": str(copy.path),
                    }
                    for copy in group
                ]
                for group in self.duplicates
            ],
            "prediction": None if self.prediction is None else asdict(self.prediction),
            "scans": [_scan(study, scan) for study in self.studies for scan in study.scans],
        }


def make_report(
    source: str,
    studies: Sequence[StudyFacts],
    earlier: Sequence[Finding],
    schemes: Mapping[str, LabelScheme],
    vocabulary: Sequence[str],
    prediction: Prediction | None,
    *,
    quick: bool,
) -> Report:
    """Look at the cohort as a whole and gather all findings.

    Args:
        source: What was looked at, in words.
        studies: What was seen of each study.
        earlier: Findings about rows.
        schemes: Label schemes by name.
        vocabulary: Order of the modalities.
        prediction: What preparing will take.
        quick: Only headers were read.
    """
    duplicates = find_duplicates(studies)
    groups, outliers = group_scans(studies)
    findings = [*earlier, *(finding for study in studies for finding in study.findings)]
    findings += [*check_duplicates(duplicates), *outliers, *check_cohort(studies)]
    findings += check_schemes(studies, schemes)
    if prediction is not None:
        findings += check_prediction(prediction, os.cpu_count() or 1, memory_bytes())
    usable = [study for study in studies if study.scans]
    return Report(
        source=source,
        quick=quick,
        studies=tuple(studies),
        findings=tuple(sorted(findings, key=lambda finding: finding.order)),
        availability=availability(studies, vocabulary),
        splits=split_table(usable),
        classes=class_table(usable),
        duplicates=tuple(duplicates),
        groups=tuple(groups),
        prediction=prediction,
    )


def memory_bytes() -> int | None:
    """Return the memory of this machine, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _available(row: Availability) -> dict[str, Any]:
    return {
        "studies": row.num_studies,
        "modalities": row.modalities,
        "combinations": [
            {"modalities": list(names), "studies": count}
            for names, count in row.combinations.items()
        ],
    }


def _scan(study: StudyFacts, scan: ScanFacts) -> dict[str, Any]:
    look = scan.look
    return {
        "study": study.id,
        "dataset": study.dataset,
        "split": study.split,
        "modality": scan.modality,
        "file": str(scan.path),
        "shape": list(scan.shape),
        "spacing_mm": [round(edge, 4) for edge in scan.spacing_mm],
        "median": look and look.median,
        "low": look and look.low,
        "high": look and look.high,
        "foreground": look and look.share,
        "digest": look and look.digest,
    }
