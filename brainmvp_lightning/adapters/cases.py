"""Putting the files of a case together; what does not fit is set aside with a sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from brainmvp_lightning.adapters.class_table import read_class_table
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, study_id

LABEL = "label"
BRAIN_MASK = "brain mask"
ClassOf = Callable[["Case"], str | None]


@dataclass(frozen=True)
class Case:
    """One visit of one patient; patient and session identify it.

    Args:
        patient: Patient, unique within the data set.
        session: Visit; empty where there is only one.
        split: Where the data set prescribes it.
        name: Name of the case in the files, by which class tables may call it.
    """

    patient: str
    session: str = ""
    split: str | None = field(default=None, compare=False)
    name: str = field(default="", compare=False)


@dataclass(frozen=True)
class _Entry:
    path: Path
    rank: int


class CaseFiles:
    """The files of all cases by what they are: a modality, the label or the brain mask.

    Args:
        dataset: Name of the data set.
        label_scheme: What the values of its labels mean.
        adapter: Name of the adapter, for messages.
    """

    def __init__(self, dataset: str, label_scheme: str | None, adapter: str) -> None:
        self.dataset = dataset
        self.label_scheme = label_scheme
        self.adapter = adapter
        self.problems: list[Problem] = []
        self._entries: dict[Case, dict[str, list[_Entry]]] = defaultdict(lambda: defaultdict(list))

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, case: Case, role: str, path: Path, rank: int = 0) -> None:
        """Add a file.

        Args:
            case: Case it belongs to.
            role: Modality, `LABEL` or `BRAIN_MASK`.
            path: The file.
            rank: Of several files in one role the lowest rank is used, and those of higher rank
                are left out without a word: they are known alternatives. Of equal ranks the first
                path is used and the rest is set aside.
        """
        entries = self._entries[case][role]
        if _Entry(path, rank) not in entries:  # roots may lie within each other
            entries.append(_Entry(path, rank))

    def add_scan(
        self, case: Case, spelling: str, path: Path, vocabulary: ModalityVocabulary, rank: int = 0
    ) -> None:
        """Add a scan by the spelling of its modality; an unknown one is set aside."""
        try:
            self.add(case, vocabulary.parse(spelling), path, rank)
        except UnknownModalityError as error:
            remedy = "add it to extra_modalities, or leave the file out"
            self.set_aside(path, str(error), remedy, case)

    def has(self, case: Case, role: str) -> bool:
        """Tell whether a case has a file in a role."""
        return role in self._entries.get(case, {})

    def set_aside(self, path: Path, reason: str, remedy: str, case: Case | None = None) -> None:
        """Record a file that is not used."""
        self.problems.append(Problem(self._study(case), str(path), reason, remedy))

    def note(self, path: Path, reason: str, remedy: str, case: Case | None = None) -> None:
        """Record something about a file that is used all the same."""
        self.problems.append(Problem(self._study(case), str(path), reason, remedy, True))

    def check_any(self, root: str | list[str], example: str, names: Iterable[str]) -> None:
        """Check that a case was found.

        Args:
            root: Where the search began.
            example: A name as it should be.
            names: Names of images that were found.

        Raises:
            ValueError: If there is none; the message shows what was found.
        """
        if not self._entries:
            shown = ", ".join(list(dict.fromkeys(names))[:3])
            place = root if isinstance(root, str) else ", ".join(root)
            raise ValueError(
                f"{place} holds no image that is named like {example} (found: {shown}); correct "
                f"'root' of the {self.adapter} adapter, or choose another adapter"
            )

    def classes(self, table: str | None, column: str | None) -> ClassOf:
        """Return what tells the class of a case.

        Cases without one are named in a single note. A name of the case counts before the
        patient's.

        Args:
            table: CSV or TSV table; None for no classes.
            column: Column of the classes.

        Raises:
            FileNotFoundError: If there is no such table.
            ValueError: If it cannot be used, or the column is not given.
        """
        if table is None:
            return lambda _: None
        if not column:
            raise ValueError(
                f"'class_table' of the {self.adapter} adapter is {table}; say by 'class_column' "
                "which of its columns holds the classes"
            )
        patients = {
            name: case.patient for case in self._entries for name in (case.name, case.patient)
        }
        patients.pop("", None)
        found = read_class_table(table, column, patients)
        without = [case for case in self._entries if not found.find(case.name, case.patient)]
        if without:
            first = ", ".join(case.name or case.patient for case in without[:3])
            reason = (
                f"{len(without)} of {len(self)} cases have no {found.column!r} in it "
                f"(the first: {first})"
            )
            self.note(found.path, reason, "add them, or leave them without a class")
        return lambda case: found.find(case.name, case.patient)

    def scans(self, class_of: ClassOf = lambda _: None, only_labelled: bool = False) -> list[Scan]:
        """Return the scans of all cases, in the order in which they were added.

        Args:
            class_of: Class of a case.
            only_labelled: Leave out cases without a label.
        """
        scans: list[Scan] = []
        for case, roles in self._entries.items():
            chosen = {role: self._choose(case, role, roles[role]) for role in roles}
            label, mask = chosen.pop(LABEL, None), chosen.pop(BRAIN_MASK, None)
            if not chosen:
                self._lonely(case, label, mask)
            if only_labelled and label is None:
                continue
            scans += [
                Scan(
                    patient=case.patient,
                    session=case.session,
                    dataset=self.dataset,
                    modality=modality,
                    path=path,
                    label=label,
                    target_class=class_of(case),
                    split=case.split,
                    label_scheme=self.label_scheme if label else None,
                    brain_mask=mask,
                )
                for modality, path in chosen.items()
            ]
        return scans

    def _choose(self, case: Case, role: str, entries: list[_Entry]) -> Path:
        first, *others = sorted(entries, key=lambda entry: (entry.rank, str(entry.path)))
        for other in others:
            if other.rank == first.rank:
                reason = f"the study has another {role}, which is used: {first.path}"
                self.set_aside(other.path, reason, "nothing, or remove one of the two", case)
        return first.path

    def _lonely(self, case: Case, label: Path | None, mask: Path | None) -> None:
        for role, path in ((LABEL, label), (BRAIN_MASK, mask)):
            if path is not None:
                reason = f"it is the {role} of a study without a scan"
                self.set_aside(path, reason, "add the scans, or remove it", case)

    def _study(self, case: Case | None) -> str:
        return study_id(self.dataset, case.patient, case.session) if case else ""
