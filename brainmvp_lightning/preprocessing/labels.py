"""What the annotations of a data set mean, and values that mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from brainmvp_lightning.studies.labels import LabelScheme, find_scheme
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.records import CachedStudy


def check_schemes(scans: Iterable[Scan], schemes: Mapping[str, LabelScheme]) -> None:
    """Check that every label scheme that scans name is known.

    Raises:
        ValueError: If one is not; the message lists the nearest names.
    """
    for name in sorted({scan.label_scheme for scan in scans if scan.label_scheme}):
        try:
            find_scheme(name, schemes)
        except ValueError as error:
            raise ValueError(f"{error}; define yours with label_schemes") from error


def odd_labels(
    studies: Iterable[CachedStudy], schemes: Mapping[str, LabelScheme], root: Path
) -> list[Problem]:
    """Return a sentence for each annotation with values that its scheme does not know.

    Args:
        studies: Stored studies.
        schemes: Known schemes.
        root: Cache folder.
    """
    problems = []
    for study in studies:
        if study.label is None or study.label_scheme is None:
            continue
        unknown = schemes[study.label_scheme].unknown_values(study.label_values)
        if unknown:
            values = ", ".join(map(str, unknown))
            reason = f"label: values {values} mean nothing in label scheme {study.label_scheme!r}"
            remedy = "fine-tuning leaves the study out; name them in your own scheme, or correct it"
            file = str(root / study.label.source["path"])
            problems.append(Problem(study.id, file, reason, remedy, is_handled=True))
    return problems


def used_schemes(
    studies: Sequence[CachedStudy], schemes: Mapping[str, LabelScheme]
) -> dict[str, LabelScheme]:
    """Return the schemes that stored studies name, by name."""
    names = {study.label_scheme for study in studies if study.label_scheme is not None}
    return {name: schemes[name] for name in sorted(names)}
