"""Lists of cases in JSON: Medical Segmentation Decathlon and MONAI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.dataset_json import (
    channel_names,
    find_missing,
    read_json,
    scheme_of_labels,
)
from brainmvp_lightning.adapters.entry_names import EntryFiles, name_entries
from brainmvp_lightning.adapters.image_names import parse_image_name, split_case, tell_unmatched
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.nifti import peek_grid

SECTIONS = {"training": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Entry:
    """One case of a list.

    Args:
        images: Its image files.
        label: Its annotation, if any.
        target_class: Its class, where the label is a number.
        split: ``train``, ``val`` or ``test`` where the list prescribes it.
    """

    images: tuple[Path, ...]
    label: Path | None
    target_class: str | None
    split: str | None


@dataclass(frozen=True)
class ListedImage:
    """An image of a case.

    Args:
        entry: The case in the list.
        modality: Canonical name.
        path: The file.
        volumes: Which volume of a 4-D file it is; empty for a file of one volume.
        is_named: Whether the list says the modality, not the name of the file.
    """

    entry: Entry
    modality: str
    path: Path
    volumes: tuple[int, ...] = ()
    is_named: bool = True


@ADAPTERS.register("datalist")
class DatalistAdapter(Adapter):
    """Cases listed under ``training``, ``validation`` and ``test`` of a JSON file.

    An entry is ``{"image": ..., "label": ...}``, a list of images, or one image. Several images of
    a case, or the volumes of a 4-D image, have the order of the file's ``modality`` or
    ``channel_names``; without one, names of files say the modality (``case_t1ce.nii.gz``). Names of
    files are the names of cases; where several are called the same, folders tell them apart. A
    label that is a number is the class of the case.

    Args:
        path: The JSON file.
        root: Folder that its paths are relative to; null: the folder of the JSON file.
        dataset: Name of the data set; null: the ``name`` in the file, else its folder.
        modalities: Order of the images or volumes; null: what the file says.
        val_fold: Cases of ``training`` with this ``fold`` validate, the others train; null: the
            patients are dealt by hash unless the file has a ``validation``.
        include_test: Whether to read ``test`` too; its cases get that split.
        label_scheme: What the values of annotations mean; null: a scheme from the ``labels`` of the
            file, called ``<dataset>_labels``.
        case_pattern: Regular expression for names of cases with a group ``patient`` and, where
            there are several visits, ``session``; null: each case is a patient.
    """

    def __init__(
        self,
        path: str,
        root: str | None = None,
        dataset: str | None = None,
        modalities: list[str] | None = None,
        val_fold: int | None = None,
        include_test: bool = True,
        label_scheme: str | None = None,
        case_pattern: str | None = None,
    ) -> None:
        super().__init__()
        self.path = path
        self.root = root
        self.dataset = dataset
        self.modalities = modalities
        self.val_fold = val_fold
        self.include_test = include_test
        self.label_scheme = label_scheme
        self.case_pattern = case_pattern

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all listed cases; see `Adapter.scans`."""
        self.problems = []
        content = read_json(Path(self.path))
        dataset = self.dataset or str(content.get("name") or Path(self.path).resolve().parent.name)
        channels = self._channels(content, vocabulary)
        found = (
            self._images(entry, channels, vocabulary)
            for entry in self._existing(self._entries(content))
        )
        groups = [images for images in found if images]
        names = name_entries([_files_of(images) for images in groups], vocabulary)
        self.problems += tell_unmatched(names, self.case_pattern, self.path)
        scheme = self.label_scheme or self._own_scheme(content, dataset)
        return [
            self._scan(image, name, dataset, scheme)
            for name, images in zip(names, groups, strict=True)
            for image in images
        ]

    def _scan(self, image: ListedImage, case: str, dataset: str, scheme: str | None) -> Scan:
        patient, session = split_case(case, self.case_pattern)
        return Scan(
            patient=patient,
            session=session,
            dataset=dataset,
            modality=image.modality,
            path=image.path,
            label=image.entry.label,
            target_class=image.entry.target_class,
            split=image.entry.split,
            label_scheme=scheme if image.entry.label else None,
            volumes=image.volumes,
        )

    def _own_scheme(self, content: Mapping[str, Any], dataset: str) -> str | None:
        try:
            plain = scheme_of_labels(content.get("labels") or {})
        except ValueError as error:
            remedy = "correct it, or set 'label_scheme'"
            self.problems.append(Problem("", self.path, str(error), remedy, is_handled=True))
            return None
        if plain is None:
            return None
        name = f"{dataset}_labels"
        self.label_schemes = {name: plain}
        return name

    def _channels(
        self, content: Mapping[str, Any], vocabulary: ModalityVocabulary
    ) -> list[str | None]:
        """Return the modality of each channel in order, None where there is no such name."""
        written = self.modalities or channel_names(content)
        channels: list[str | None] = []
        for number, name in enumerate(written):
            try:
                channels.append(vocabulary.parse(name))
            except UnknownModalityError as error:
                channels.append(None)
                reason = f"channel {number} is left out: {error}"
                self.problems.append(Problem("", self.path, reason, "set 'modalities'"))
        return channels

    def _entries(self, content: Mapping[str, Any]) -> list[Entry]:
        if not any(section in content for section in SECTIONS):
            keys = ", ".join(map(repr, content))
            raise ValueError(
                f"{self.path} has none of the keys {', '.join(SECTIONS)} (found: {keys}); "
                "name a list of cases in 'path' of the datalist adapter"
            )
        is_dealt = "validation" not in content and self.val_fold is None
        entries = []
        for section, split in SECTIONS.items():
            if section == "test" and not self.include_test:
                continue
            items = content.get(section) or []
            if not isinstance(items, list):
                raise ValueError(f"{section!r} of {self.path} is no list of cases; correct it")
            for number, item in enumerate(items):
                given = None if section == "training" and is_dealt else split
                try:
                    entries.append(self._entry(item, given, section))
                except (TypeError, AttributeError, KeyError, ValueError, OverflowError):
                    reason = "it is neither a path, nor a list of paths, nor has an 'image'"
                    where = f"{self.path}, {section}[{number}]"
                    self.problems.append(Problem("", where, reason, "correct the entry"))
        return entries

    def _entry(self, item: Any, split: str | None, section: str) -> Entry:  # noqa: ANN401 - any JSON value
        fields = item if isinstance(item, Mapping) else {"image": item}
        if section == "training" and self.val_fold is not None and "fold" in fields:
            split = "val" if int(fields["fold"]) == self.val_fold else "train"
        label = fields.get("label")
        images = self._paths(fields["image"])
        labels = self._paths(label) if isinstance(label, str | list) and label else []
        if not images or len(labels) > 1:
            raise ValueError("no image, or several labels")
        target = str(label) if isinstance(label, int) else None
        return Entry(tuple(images), labels[0] if labels else None, target, split)

    def _paths(self, value: Any) -> list[Path]:  # noqa: ANN401 - any JSON value
        root = Path(self.root) if self.root else Path(self.path).parent
        texts = [value] if isinstance(value, str) else value
        return [root / text.replace("\\", "/") for text in texts]

    def _existing(self, entries: list[Entry]) -> list[Entry]:
        files = [path for entry in entries for path in _files(entry)]
        root = Path(self.root) if self.root else Path(self.path).parent
        missing, problems = find_missing(files, self.path, root, "datalist")
        self.problems += problems
        return [entry for entry in entries if missing.isdisjoint(_files(entry))]

    def _images(
        self, entry: Entry, channels: list[str | None], vocabulary: ModalityVocabulary
    ) -> list[ListedImage]:
        first = entry.images[0]
        grid = peek_grid(first) if len(entry.images) == 1 else None
        if grid is not None and grid.num_volumes > 1:
            if grid.num_volumes != len(channels):
                reason = (
                    f"it holds {grid.num_volumes} volumes, but {len(channels)} modalities are named"
                )
                self._set_aside(first, reason, "set 'modalities' of the datalist adapter")
                return []
            return [
                ListedImage(entry, name, first, (place,))
                for place, name in enumerate(channels)
                if name
            ]
        if len(channels) == len(entry.images):
            pairs = zip(channels, entry.images, strict=True)
            return [ListedImage(entry, name, path) for name, path in pairs if name]
        found = []
        for path in entry.images:
            try:
                modality = parse_image_name(path, vocabulary).modality
                found.append(ListedImage(entry, modality, path, is_named=False))
            except UnknownModalityError as error:
                self._set_aside(path, str(error), "set 'modalities', or rename it")
        return found

    def _set_aside(self, path: Path, reason: str, remedy: str) -> None:
        self.problems.append(Problem("", str(path), reason, remedy))


def _files_of(images: list[ListedImage]) -> EntryFiles:
    first = images[0]
    modalities = [(image.modality, image.path) for image in images]
    return EntryFiles(first.entry.images, modalities, first.is_named)


def _files(entry: Entry) -> list[Path]:
    return [*entry.images, *([entry.label] if entry.label else [])]
