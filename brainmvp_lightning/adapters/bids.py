"""Data sets in the Brain Imaging Data Structure."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.bids_names import (
    IGNORED_SUFFIXES,
    BidsName,
    is_image,
    parse_modality,
    parse_name,
)
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, study_id
from brainmvp_lightning.volumes.nifti import peek_grid

FOLDERS = ("anat", "dwi", "swi")
_BRAIN_MASKS = frozenset({"brain", "head", "skull", "brainmask"})


@ADAPTERS.register("bids")
class BidsAdapter(Adapter):
    """A BIDS tree: images below ``sub-*/[ses-*/]{anat,dwi,swi}``.

    Of several files of one modality in a session the finest resolution counts, then the later
    run, then the first name; a file of several volumes counts only if there is no other. The rest
    is set aside. Annotations are ``*_dseg`` or ``*_mask`` images below ``derivatives/*/sub-*``; a
    ``dseg`` comes before a ``mask``, brain masks do not count.

    Args:
        root: Folder that holds the ``sub-*`` folders.
        dataset: Name of the data set; by default that of the folder.
        class_column: Column of ``participants.tsv`` with the class of a patient; null for none.
        label_pattern: Annotations must match this, such as ``*desc-tumour_dseg.nii.gz``.
        read_labels: Whether to look for annotations at all.
    """

    def __init__(
        self,
        root: str,
        dataset: str | None = None,
        class_column: str | None = "class",
        label_pattern: str = "*",
        read_labels: bool = True,
    ) -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset
        self.class_column = class_column
        self.label_pattern = label_pattern
        self.read_labels = read_labels

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all subjects; see `Adapter.scans`."""
        root = Path(self.root)
        subjects = sorted(path for path in root.glob("sub-*") if path.is_dir())
        if not subjects:
            found = "has no folders called sub-*" if root.is_dir() else "does not exist"
            raise FileNotFoundError(f"BIDS root {root} {found}; correct 'root' of the bids adapter")
        self.problems = []
        groups: dict[tuple[str, str, str], list[BidsName]] = defaultdict(list)
        for name in _raw_images(subjects):
            modality = self._modality(name, vocabulary)
            if modality:
                groups[name.subject, name.session, modality].append(name)
        chosen = {key: self._choose(key, names) for key, names in groups.items()}
        labels = self._labels(root) if self.read_labels else {}
        classes = self._classes(root)
        return [
            Scan(
                patient=subject,
                session=session,
                dataset=self._name(),
                modality=modality,
                path=name.path,
                label=labels.get((subject, session)),
                target_class=classes.get(subject),
            )
            for (subject, session, modality), name in chosen.items()
        ]

    def _name(self) -> str:
        return self.dataset or Path(self.root).resolve().name

    def _set_aside(self, name: BidsName, reason: str, remedy: str) -> None:
        study = study_id(self._name(), name.subject, name.session)
        self.problems.append(Problem(study, str(name.path), reason, remedy))

    def _modality(self, name: BidsName, vocabulary: ModalityVocabulary) -> str | None:
        if name.suffix in IGNORED_SUFFIXES:
            return None
        if name.entities.get("part", "mag") not in ("mag", "magnitude"):
            self._set_aside(name, "it is not a magnitude image", "nothing, or leave it out")
            return None
        try:
            return parse_modality(name, vocabulary)
        except UnknownModalityError as error:
            self._set_aside(name, str(error), "add it there, or leave the file out")
            return None

    def _choose(self, key: tuple[str, str, str], names: list[BidsName]) -> BidsName:
        if len(names) == 1:
            return names[0]
        best, *others = sorted(names, key=_preference)
        for name in others:
            reason = f"the study has a better {key[2]}, which is used: {best.path.name}"
            self._set_aside(name, reason, "nothing, or remove one of the two")
        return best

    def _labels(self, root: Path) -> dict[tuple[str, str], Path]:
        candidates: dict[tuple[str, str], list[BidsName]] = defaultdict(list)
        for path in sorted(root.glob("derivatives/*/sub-*/**/*")):
            name = parse_name(path)
            if is_image(path) and path.match(self.label_pattern) and _is_annotation(name):
                candidates[name.subject, name.session].append(name)
        for names in candidates.values():
            names.sort(key=lambda name: name.suffix)  # dseg < mask
            for name in names[1:]:
                reason = f"the study has another label, which is used: {names[0].path.name}"
                self._set_aside(name, reason, "choose with 'label_pattern' of the bids adapter")
        return {key: names[0].path for key, names in candidates.items()}

    def _classes(self, root: Path) -> dict[str, str]:
        table = root / "participants.tsv"
        if self.class_column is None or not table.is_file():
            return {}
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        if rows and self.class_column not in rows[0]:
            columns = ", ".join(str(column) for column in rows[0])
            reason = f"it has no column {self.class_column!r} (found: {columns}), so no classes"
            remedy = "correct 'class_column' of the bids adapter, or set it to null"
            self.problems.append(Problem("", str(table), reason, remedy, is_handled=True))
            return {}
        pairs = ((row.get("participant_id") or "", row.get(self.class_column)) for row in rows)
        return {
            subject.removeprefix("sub-"): value
            for subject, value in pairs
            if value and value.casefold() != "n/a"
        }


def _raw_images(subjects: Iterable[Path]) -> Iterable[BidsName]:
    for subject in subjects:
        for path in sorted(subject.glob("**/*")):
            if is_image(path) and path.parent.name in FOLDERS:
                yield parse_name(path)


def _is_annotation(name: BidsName) -> bool:
    if name.suffix not in ("dseg", "mask"):
        return False
    return not _BRAIN_MASKS & {value.casefold() for value in name.entities.values()}


def _preference(name: BidsName) -> tuple[bool, float, int, str]:
    grid = peek_grid(name.path)
    if grid is None:
        return True, float("inf"), 0, name.path.name
    return grid.num_volumes > 1, round(grid.voxel_mm3, 3), -name.run, name.path.name
