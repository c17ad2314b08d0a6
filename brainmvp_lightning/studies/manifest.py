"""A table of scans that people can open: one row per scan."""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brainmvp_lightning.studies.columns import COLUMNS, ManifestError, read_rows
from brainmvp_lightning.studies.modality import VOCABULARY, ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.splits import parse_split, split_of
from brainmvp_lightning.studies.study import Scan, Study, distinct_id, study_id

__all__ = ["COLUMNS", "Manifest", "ManifestError"]


@dataclass(frozen=True)
class Manifest:
    """Scans, and the sentences about those that were set aside.

    Args:
        scans: One for each usable row.
        problems: One for each row that is not used.
    """

    scans: tuple[Scan, ...]
    problems: tuple[Problem, ...] = ()

    @classmethod
    def read(cls, path: str | Path, vocabulary: ModalityVocabulary) -> Manifest:
        """Read a CSV table with the columns of `COLUMNS`; relative paths are relative to it.

        Only patient, modality and path are required; rows that cannot be used are set aside.

        Raises:
            ManifestError: If the file is missing, is no table, or lacks a column.
        """
        table = Path(path)
        scans: list[Scan] = []
        problems: list[Problem] = []
        for number, row in read_rows(table):
            row["dataset"] = row["dataset"] or table.stem
            try:
                scans.append(_scan_of(row, table, vocabulary))
            except ValueError as error:
                study = study_id(row["dataset"], row["patient"], row["session"])
                where = f"{table}, line {number}"
                problems.append(Problem(study, where, str(error), "correct the row"))
        return cls(tuple(scans), tuple(problems))

    def to_csv(self, folder: Path) -> str:
        """Return the table as text, its paths relative to `folder` where they share a root."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for scan in self.scans:
            table.writerow(_row_of(scan, folder))
        return text.getvalue()

    def write(self, path: str | Path) -> None:
        """Write the table."""
        Path(path).write_text(self.to_csv(Path(path).parent), encoding="utf-8")

    def validate(self) -> Manifest:
        """Return the manifest without rows that repeat others, each set aside with a sentence.

        Of several scans of one modality in a study, the first path in alphabetical order stays.

        Raises:
            ManifestError: If rows contradict each other on split or class; all are listed.
        """
        _raise_contradictions(self.scans)
        kept: list[Scan] = []
        problems = list(self.problems)
        first_by_key: dict[tuple[str, ...], Scan] = {}
        owner_by_path: dict[tuple[str, tuple[int, ...]], Scan] = {}
        for scan in sorted(self.scans, key=lambda scan: str(scan.path)):
            place = os.path.abspath(scan.path)  # noqa: PTH100 - resolve() would follow links
            owner = owner_by_path.setdefault((place, scan.volumes), scan)
            key = (*_study_key(scan), scan.modality)
            # A file of another study does not take the place of the study's own.
            first = first_by_key.setdefault(key, scan) if owner is scan else scan
            if first is scan and owner is scan:
                kept.append(scan)
            else:
                problems.append(_repetition(scan, first, owner))
        kept_ids = {id(scan) for scan in kept}
        scans = tuple(scan for scan in self.scans if id(scan) in kept_ids)
        return Manifest(scans, tuple(problems))

    def with_splits(self, ratios: Sequence[float] = (6, 1, 3), seed: int = 0) -> Manifest:
        """Return the manifest with the split of every row filled in.

        A split given in any row holds for all scans of that patient.
        """
        given = {_patient_key(scan): scan.split for scan in self.scans if scan.split}
        scans = (
            replace(
                scan,
                split=given.get(_patient_key(scan)) or split_of(*_patient_key(scan), ratios, seed),
            )
            for scan in self.scans
        )
        return Manifest(tuple(scans), self.problems)

    def studies(
        self,
        ratios: Sequence[float] = (6, 1, 3),
        seed: int = 0,
        modalities: Sequence[str] = VOCABULARY,
    ) -> list[Study]:
        """Group the scans of a validated manifest into studies, in the order of first appearance.

        Args:
            ratios: Shares of train, val and test for patients without a given split.
            seed: Seed of the split.
            modalities: Order of the scans within a study.
        """
        groups: dict[tuple[str, str, str], list[Scan]] = defaultdict(list)
        for scan in self.with_splits(ratios, seed).scans:
            groups[_study_key(scan)].append(scan)
        names = _unique_ids(groups)
        return [
            _study_of(names[key], sorted(scans, key=lambda scan: modalities.index(scan.modality)))
            for key, scans in groups.items()
        ]


def portable_path(path: Path, folder: Path) -> str:
    """Return `path` relative to `folder`, or absolute if the two share only the root."""
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
    if absolute.parts[:2] != base.parts[:2]:
        return absolute.as_posix()
    return Path(os.path.relpath(absolute, base)).as_posix()


def _patient_key(scan: Scan) -> tuple[str, str]:
    return scan.dataset, scan.patient


def _study_key(scan: Scan) -> tuple[str, str, str]:
    return scan.dataset, scan.patient, scan.session


def _study_of(name: str, scans: list[Scan]) -> Study:
    first = scans[0]
    return Study(
        id=name,
        dataset=first.dataset,
        patient=first.patient,
        session=first.session,
        scans=tuple(scans),
        label=next((scan.label for scan in scans if scan.label is not None), None),
        target_class=next((scan.target_class for scan in scans if scan.target_class), None),
        split=first.split or "train",
        label_scheme=next((scan.label_scheme for scan in scans if scan.label_scheme), None),
    )


def _unique_ids(keys: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    # Case counts: two names that differ in nothing else share a folder on some file systems.
    owners: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for key in keys:
        owners[study_id(*key).casefold()].append(key)
    return {
        key: study_id(*key) if len(group) == 1 else distinct_id(study_id(*key), *key)
        for group in owners.values()
        for key in group
    }


def _scan_of(row: dict[str, str], table: Path, vocabulary: ModalityVocabulary) -> Scan:
    missing = [column for column in ("patient", "modality", "path") if not row[column]]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}")
    return Scan(
        patient=row["patient"],
        session=row["session"],
        dataset=row["dataset"],
        modality=vocabulary.parse(row["modality"]),
        path=table.parent / row["path"],
        label=table.parent / row["label"] if row["label"] else None,
        target_class=row["class"] or None,
        split=parse_split(row["split"]) if row["split"] else None,
        label_scheme=row["label_scheme"] or None,
        brain_mask=table.parent / row["brain_mask"] if row["brain_mask"] else None,
        volumes=_parse_volumes(row["volumes"]),
    )


def _parse_volumes(text: str) -> tuple[int, ...]:
    places = text.split()
    if not all(place.isdecimal() for place in places):
        raise ValueError(
            f"its volumes are {text!r}; give numbers from 0 with spaces between, such as '0 3'"
        )
    return tuple(int(place) for place in places)


def _row_of(scan: Scan, folder: Path) -> list[str]:
    def place(path: Path | None) -> str:
        return "" if path is None else portable_path(path, folder)

    return [
        scan.patient,
        scan.session,
        scan.dataset,
        scan.modality,
        place(scan.path),
        place(scan.label),
        scan.target_class or "",
        scan.split or "",
        scan.label_scheme or "",
        place(scan.brain_mask),
        " ".join(map(str, scan.volumes)),
    ]


def _repetition(scan: Scan, first: Scan, owner: Scan) -> Problem:
    study = study_id(*_study_key(scan))
    if _study_key(owner) != _study_key(scan):
        reason = f"it is already used by study {study_id(*_study_key(owner))}"
        return Problem(study, str(scan.path), reason, "correct one of the rows")
    if owner is not scan:
        reason = f"it is listed twice, as {owner.modality} and as {scan.modality}"
        return Problem(study, str(scan.path), reason, "delete one of the rows")
    reason = f"the study has another {scan.modality}, which is used: {first.path}"
    return Problem(study, str(scan.path), reason, "delete one, or give it a modality of its own")


def _raise_contradictions(scans: Iterable[Scan]) -> None:
    scans = list(scans)
    faults = [
        *_contradictions(scans, "patient", _patient_key, lambda scan: scan.split or "", "splits"),
        *_contradictions(
            scans, "study", _study_key, lambda scan: scan.target_class or "", "classes"
        ),
        *_contradictions(scans, "study", _study_key, lambda scan: str(scan.label or ""), "labels"),
        *_contradictions(
            scans, "study", _study_key, lambda scan: scan.label_scheme or "", "label schemes"
        ),
    ]
    if faults:
        raise ManifestError(
            f"the manifest contradicts itself in {len(faults)} places: {'; '.join(faults)}. "
            "Correct these rows"
        )


def _contradictions(
    scans: list[Scan],
    unit: str,
    key_of: Callable[[Scan], tuple[str, ...]],
    value_of: Callable[[Scan], str],
    what: str,
) -> list[str]:
    values: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for scan in scans:
        if value_of(scan):
            values[key_of(scan)].add(value_of(scan))
    return [
        f"{unit} {' '.join(part for part in key if part)} has {len(found)} {what} "
        f"({', '.join(sorted(found))})"
        for key, found in values.items()
        if len(found) > 1
    ]
