"""Collections of data sets described by nnssl's ``pretrain_data.json``, such as OpenMind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.dataset_json import find_missing, read_json
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, study_id


@dataclass(frozen=True)
class ListedImage:
    """An image of the list, with the names of the levels above it.

    Args:
        dataset: Data set.
        subject: Person.
        session: Visit.
        fields: ``name``, ``modality``, ``image_path``, ``associated_masks``.
    """

    dataset: str
    subject: str
    session: str
    fields: Mapping[str, Any]


@ADAPTERS.register("nnssl")
class NnsslAdapter(Adapter):
    """Data sets, subjects, sessions and images of a ``pretrain_data.json``.

    Each level may be a mapping by name or a list of objects that hold their name. Relative paths,
    and those that begin with a place holder (``$nnssl_raw/...``), are relative to `root`.

    Args:
        path: The JSON file.
        root: Folder that paths are relative to; null: the folder of the JSON file.
        brain_mask: Which of the ``associated_masks`` serves as brain mask; null for none. The
            anonymisation mask cannot: it marks what was made unrecognisable.
    """

    def __init__(
        self,
        path: str,
        root: str | None = None,
        brain_mask: Literal["anatomy_mask", "brain_mask"] | None = "anatomy_mask",
    ) -> None:
        super().__init__()
        self.path = path
        self.root = root
        self.brain_mask = brain_mask

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return one scan for each image of a known modality; see `Adapter.scans`."""
        self.problems = []
        content = read_json(Path(self.path))
        if "datasets" not in content:
            raise ValueError(
                f"{self.path} has no key 'datasets' (found: {', '.join(map(repr, content))}); "
                "name a pretrain_data.json in 'path' of the nnssl adapter"
            )
        scans = [
            scan
            for listed in _images(content)
            if (scan := self._scan(listed, vocabulary)) is not None
        ]
        files = [scan.path for scan in scans]
        missing, problems = find_missing(files, self.path, self._root(), "nnssl")
        self.problems += problems
        return [self._checked(scan) for scan in scans if scan.path not in missing]

    def _checked(self, scan: Scan) -> Scan:
        """Return the scan, without its mask if there is no such file."""
        if scan.brain_mask is None or scan.brain_mask.exists():
            return scan
        study = study_id(scan.dataset, scan.patient, scan.session)
        reason = "it is listed as a mask, but there is no such file; the scan is used without"
        remedy = "download it, or set 'brain_mask' of the nnssl adapter to null"
        problem = Problem(study, str(scan.brain_mask), reason, remedy, is_handled=True)
        self.problems.append(problem)
        return replace(scan, brain_mask=None)

    def _root(self) -> Path:
        return Path(self.root) if self.root else Path(self.path).parent

    def _scan(self, listed: ListedImage, vocabulary: ModalityVocabulary) -> Scan | None:
        path = listed.fields.get("image_path")
        where = str(path or listed.fields.get("name") or self.path)
        study = study_id(listed.dataset, listed.subject, listed.session)
        if not isinstance(path, str) or not path:
            reason = "an image of this study has no 'image_path'"
            self.problems.append(Problem(study, where, reason, "add it, or delete the image"))
            return None
        try:
            modality = vocabulary.parse(str(listed.fields.get("modality") or ""))
        except UnknownModalityError as error:
            remedy = "add it there, or leave the file out"
            self.problems.append(Problem(study, where, str(error), remedy))
            return None
        masks = listed.fields.get("associated_masks")
        mask = masks.get(self.brain_mask) if isinstance(masks, Mapping) else None
        return Scan(
            patient=listed.subject,
            session=listed.session,
            dataset=listed.dataset,
            modality=modality,
            path=self._place(path),
            brain_mask=self._place(mask) if isinstance(mask, str) and mask else None,
        )

    def _place(self, text: str) -> Path:
        first, _, rest = text.replace("\\", "/").partition("/")
        return self._root() / (rest if first.startswith("$") else text)


def _images(content: Mapping[str, Any]) -> Iterator[ListedImage]:
    for dataset, at_dataset in _level(content.get("datasets"), "dataset_index", "name"):
        for subject, at_subject in _level(at_dataset.get("subjects"), "subject_id", "name"):
            for session, at_session in _level(at_subject.get("sessions"), "session_id", "name"):
                for _, fields in _level(at_session.get("images"), "name"):
                    yield ListedImage(dataset, subject, session, fields)


def _level(value: Any, *keys: str) -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401 - any JSON value
    """Yield name and fields of each part of a level, mapping or list; other things are skipped.

    Parts of a mapping that hold the same name are called by their keys: they are not the same.
    """
    if isinstance(value, Mapping):
        pairs = [(str(name), fields) for name, fields in value.items()]
    else:
        pairs = [("", fields) for fields in value] if isinstance(value, list) else []
    pairs = [(name or str(place), fields) for place, (name, fields) in enumerate(pairs)]
    parts = [(name, fields) for name, fields in pairs if isinstance(fields, Mapping)]
    owns = [next((str(part[key]) for key in keys if part.get(key)), "") for _, part in parts]
    counts = Counter(owns)
    for (name, fields), own in zip(parts, owns, strict=True):
        is_shared = isinstance(value, Mapping) and counts[own] > 1
        yield (name if is_shared or not own else own), fields
