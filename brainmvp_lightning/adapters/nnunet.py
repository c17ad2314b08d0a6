"""Raw data sets of nnU-Net, versions 1 and 2."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.dataset_json import channel_names, read_json, scheme_of_labels
from brainmvp_lightning.adapters.files import find_images
from brainmvp_lightning.adapters.image_names import CHANNEL, split_case, stem, tell_unmatched
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, study_id


@ADAPTERS.register("nnunet")
class NnUnetAdapter(Adapter):
    """``imagesTr/CASE_0000.nii.gz`` with ``labelsTr/CASE.nii.gz``, and ``imagesTs`` for the test.

    ``dataset.json`` names the channels (``channel_names``, in version 1 ``modality``) and what the
    values of annotations mean (``labels``). Images in folders below are set aside, and so is a case
    of ``imagesTs`` that ``imagesTr`` has as well: nobody trains and tests.

    Args:
        root: Folder that holds ``dataset.json``, such as ``nnUNet_raw/Dataset001_Tumour``.
        dataset: Name of the data set; null: that of the folder.
        modalities: Modality by channel number, such as ``{"0": t1, "1": flair}``, where
            ``dataset.json`` has other names; null: its names.
        include_test: Whether to read ``imagesTs`` too; its cases get the split ``test``.
        label_scheme: What the values of annotations mean; null: a scheme from the ``labels`` of
            ``dataset.json``, called ``<dataset>_labels``.
        case_pattern: Regular expression for names of cases with a group ``patient`` and, where
            there are several visits, ``session``; null: each case is a patient.
    """

    def __init__(
        self,
        root: str,
        dataset: str | None = None,
        modalities: dict[str, str] | None = None,
        include_test: bool = True,
        label_scheme: str | None = None,
        case_pattern: str | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset
        self.modalities = modalities
        self.include_test = include_test
        self.label_scheme = label_scheme
        self.case_pattern = case_pattern

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all cases; see `Adapter.scans`."""
        root = Path(self.root)
        self.problems = []
        content = read_json(root / "dataset.json")
        ending = str(content.get("file_ending", ".nii.gz"))
        if ending not in (".nii.gz", ".nii"):
            raise ValueError(f"the images of {root} are {ending} files; convert them to .nii.gz")
        scheme = self.label_scheme or self._own_scheme(content)
        channels = self._channels(content, vocabulary)
        scans = self._folder("imagesTr", "labelsTr", None, channels, scheme)
        if not scans:
            raise FileNotFoundError(
                f"{root / 'imagesTr'} has no usable images called CASE_0000{ending}; "
                "correct 'root' or 'modalities' of the nnunet adapter"
            )
        if self.include_test:
            tests = self._folder("imagesTs", "labelsTs", "test", channels, scheme)
            scans += self._without_known(tests, scans)
        return scans

    def _without_known(self, tests: list[Scan], scans: list[Scan]) -> list[Scan]:
        known = {(scan.patient, scan.session) for scan in scans}
        for scan in tests:
            if (scan.patient, scan.session) in known:
                study = study_id(scan.dataset, scan.patient, scan.session)
                reason = "imagesTr has a case of this name, which is used"
                remedy = "rename one if they are of two people, else delete this one"
                self.problems.append(Problem(study, str(scan.path), reason, remedy))
        return [scan for scan in tests if (scan.patient, scan.session) not in known]

    def _name(self) -> str:
        return self.dataset or Path(self.root).resolve().name

    def _own_scheme(self, content: Mapping[str, Any]) -> str | None:
        plain = scheme_of_labels(content.get("labels") or {})
        if plain is None:
            return None
        name = f"{self._name()}_labels"
        self.label_schemes = {name: plain}
        return name

    def _channels(
        self, content: Mapping[str, Any], vocabulary: ModalityVocabulary
    ) -> dict[int, str]:
        written = dict(enumerate(channel_names(content)))
        written |= {int(number): name for number, name in (self.modalities or {}).items()}
        channels = {}
        for number, name in written.items():
            try:
                channels[number] = vocabulary.parse(name)
            except UnknownModalityError as error:
                where = str(Path(self.root) / "dataset.json")
                reason = f"channel {number} is left out: {error}"
                remedy = "set 'modalities' of the nnunet adapter"
                self.problems.append(Problem("", where, reason, remedy))
        return channels

    def _folder(
        self,
        images: str,
        labels: str,
        split: str | None,
        channels: Mapping[int, str],
        scheme: str | None,
    ) -> list[Scan]:
        root = Path(self.root)
        annotations = {stem(path): path for path in self._images(root / labels)}
        cases: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        for path in self._images(root / images):
            match = CHANNEL.search(stem(path))
            if match is None:
                reason = "its name does not end in the number of a channel, such as _0000"
                self.problems.append(Problem("", str(path), reason, "rename it, or leave it out"))
                continue
            cases[CHANNEL.sub("", stem(path))].append((int(match.group(1)), path))
        self._tell_labels(cases, annotations, split is None and bool(annotations))
        self.problems += tell_unmatched(cases, self.case_pattern, str(root / images))
        scans = []
        for case, numbered in cases.items():
            for number, path in numbered:
                modality = self._modality(number, path, channels)
                if modality is None:
                    continue
                patient, session = split_case(case, self.case_pattern)
                label = annotations.get(case)
                scan = Scan(
                    patient=patient,
                    session=session,
                    dataset=self._name(),
                    modality=modality,
                    path=path,
                    label=label,
                    split=split,
                    label_scheme=scheme if label else None,
                )
                scans.append(scan)
        return scans

    def _modality(self, number: int, path: Path, channels: Mapping[int, str]) -> str | None:
        if number in channels:
            return channels[number]
        known = ", ".join(f"{place} {name}" for place, name in channels.items()) or "none"
        reason = f"channel {number} has no known modality (known: {known})"
        remedy = "set 'modalities' of the nnunet adapter"
        self.problems.append(Problem(self._name(), str(path), reason, remedy))
        return None

    def _tell_labels(
        self, cases: Mapping[str, Any], annotations: Mapping[str, Path], is_expected: bool
    ) -> None:
        for case in annotations:
            if case not in cases:
                study = study_id(self._name(), *split_case(case, self.case_pattern))
                reason = "there are no images of its case"
                problem = Problem(study, str(annotations[case]), reason, "correct its name")
                self.problems.append(problem)
        for case in cases:
            if is_expected and case not in annotations:
                study = study_id(self._name(), *split_case(case, self.case_pattern))
                where = str(Path(self.root) / "labelsTr" / case)
                reason = "the case has no label"
                remedy = "add it, or leave the case out; it is used without"
                self.problems.append(Problem(study, where, reason, remedy, is_handled=True))

    def _images(self, folder: Path) -> list[Path]:
        """Return the images right in a folder: those below could be of another case."""
        if not folder.is_dir() or not any(folder.iterdir()):
            return []
        paths = [image.path for image in find_images(str(folder), "nnunet")]
        for path in paths:
            if path.parent != folder:
                reason = f"it is not in {folder.name} itself, but in a folder below"
                self.problems.append(Problem("", str(path), reason, "move it, or leave it out"))
        return [path for path in paths if path.parent == folder]
