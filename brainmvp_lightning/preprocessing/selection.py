"""Lists by hand: studies to leave out, and splits that are frozen."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.splits import parse_split
from brainmvp_lightning.studies.study import Scan, study_id

EXCLUSION_COLUMNS = ("patient", "session", "dataset", "reason")
SPLIT_COLUMNS = ("patient", "split", "dataset")
MAX_HINTS = 20  # rows for which the nearest patient is sought; it takes long


@dataclass(frozen=True)
class _Row:
    line: int
    values: dict[str, str]

    def matches(self, scan: Scan) -> bool:
        """Tell whether all that the row says about patient, session and data set is true."""
        return all(
            not self.values.get(column) or self.values[column] == getattr(scan, column)
            for column in ("patient", "session", "dataset")
        )


def exclude(manifest: Manifest, path: str | Path) -> Manifest:
    """Set aside the studies of a list, each with the reason that it gives.

    Args:
        manifest: All scans.
        path: CSV table with the column patient and optionally session, dataset, reason; without a
            session or dataset the row holds for all of them.

    Returns:
        The manifest without these studies; rows that fit no study get a sentence, too.

    Raises:
        ValueError: If the table cannot be used.
    """
    rows = _read(Path(path), EXCLUSION_COLUMNS, ("patient",))
    by_patient = _by_patient(rows)
    kept: list[Scan] = []
    excluded: dict[str, Problem] = {}
    for scan in manifest.scans:
        row = next((row for row in by_patient.get(scan.patient, ()) if row.matches(scan)), None)
        if row is None:
            kept.append(scan)
            continue
        study = study_id(scan.dataset, scan.patient, scan.session)
        reason = f"its study is excluded: {row.values.get('reason') or 'no reason is given'}"
        remedy = f"delete line {row.line} of {path} to use it"
        excluded.setdefault(study, Problem(study, str(scan.path), reason, remedy))
    unknown = _unknown(rows, manifest.scans, Path(path))
    return Manifest(tuple(kept), (*manifest.problems, *excluded.values(), *unknown))


def freeze_splits(manifest: Manifest, path: str | Path) -> Manifest:
    """Give patients the split that a list says, whatever the data set or the hash would say.

    Args:
        manifest: All scans.
        path: CSV table with the columns patient, split and optionally dataset.

    Returns:
        The manifest; patients of the list that it does not have get a sentence.

    Raises:
        ValueError: If the table cannot be used or contradicts itself.
    """
    rows = _read(Path(path), SPLIT_COLUMNS, ("patient", "split"))
    rows = [_with_split(row, path) for row in rows]
    by_patient = _by_patient(rows)
    scans = []
    for scan in manifest.scans:
        found = [row for row in by_patient.get(scan.patient, ()) if row.matches(scan)]
        splits = {row.values["split"] for row in found}
        if len(splits) > 1:
            lines = ", ".join(str(row.line) for row in found)
            raise ValueError(
                f"{path} gives patient {scan.patient!r} several splits (lines {lines}); keep one"
            )
        scans.append(replace(scan, split=splits.pop()) if splits else scan)
    unknown = _unknown(rows, manifest.scans, Path(path))
    return Manifest(tuple(scans), (*manifest.problems, *unknown))


def _with_split(row: _Row, path: str | Path) -> _Row:
    try:
        return _Row(row.line, {**row.values, "split": parse_split(row.values["split"])})
    except ValueError as error:
        raise ValueError(f"{path}, line {row.line}: {error}") from error


def _by_patient(rows: Sequence[_Row]) -> dict[str, list[_Row]]:
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        if row.values["patient"]:
            groups.setdefault(row.values["patient"], []).append(row)
    return groups


def _unknown(rows: Sequence[_Row], scans: Sequence[Scan], path: Path) -> list[Problem]:
    """Return a sentence for each row that fits no scan."""
    by_patient: dict[str, list[Scan]] = {}
    for scan in scans:
        by_patient.setdefault(scan.patient, []).append(scan)
    problems: list[Problem] = []
    for row in rows:
        patient = row.values["patient"]
        if any(row.matches(scan) for scan in by_patient.get(patient, ())):
            continue
        reason = f"no study fits it (patient {patient!r})" if patient else "it names no patient"
        names = by_patient if len(problems) < MAX_HINTS else ()
        close = difflib.get_close_matches(patient, names, 2, 0.8)
        remedy = f"did you mean {' or '.join(map(repr, close))}?" if close else "correct the line"
        where = f"{path}, line {row.line}"
        problems.append(Problem("", where, reason, remedy, is_handled=True))
    return problems


def _read(path: Path, columns: Sequence[str], required: Sequence[str]) -> list[_Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"table {path} cannot be read ({error}); correct the path") from error
    separator = max(",;\t", key=(lines[0] if lines else "").count)
    reader = csv.DictReader(lines, delimiter=separator, restval="")
    found = [name.strip().casefold() for name in reader.fieldnames or ()]
    reader.fieldnames = found
    strange = [name for name in found if name not in columns]
    if strange or not set(required) <= set(found):
        raise ValueError(
            f"table {path} has the columns {', '.join(found) or '(none)'}; it needs "
            f"{' and '.join(required)}, and may have {', '.join(columns)} besides"
        )
    rows = [
        _Row(reader.line_num, {name: (row.get(name) or "").strip() for name in found})
        for row in reader
    ]
    return [row for row in rows if any(row.values.values())]
