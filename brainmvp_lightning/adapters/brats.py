"""Releases of the Brain Tumor Segmentation challenge."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.cases import LABEL, Case, CaseFiles
from brainmvp_lightning.adapters.files import ImageFile, find_images, suggestion
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan


@dataclass(frozen=True)
class Release:
    """How a release names its cases.

    Args:
        case: Regular expression of a case's name, with a group ``session`` if it has time points.
        label_scheme: What the values of the labels mean.
        example: A case's name.
    """

    case: str
    label_scheme: str
    example: str

    def match_file(self, name: str) -> re.Match[str] | None:
        """Match the name of an image: case, ``_`` or ``-``, and what it shows."""
        return re.fullmatch(rf"(?P<case>{self.case})[-_](?P<suffix>[A-Za-z0-9]+)", name, re.I)

    def match_case(self, name: str) -> re.Match[str] | None:
        """Match the name of a case's folder."""
        return re.fullmatch(rf"(?P<case>{self.case})", name, re.I)


def _family(family: str) -> Release:
    return Release(
        rf"(?P<patient>BraTS-{family}-\d+)-(?P<session>\d+)",
        "brats2023",
        f"BraTS-{family}-00000-000",
    )


RELEASES = {
    "brats2017": Release(r"Brats17_\w+_\d+", "brats2021", "Brats17_2013_10_1"),
    "brats2018": Release(r"Brats18_\w+_\d+", "brats2021", "Brats18_2013_10_1"),
    "brats2019": Release(r"BraTS19_\w+_\d+", "brats2021", "BraTS19_2013_10_1"),
    "brats2020": Release(r"BraTS20_[A-Z]+_\d+", "brats2021", "BraTS20_Training_001"),
    "brats2021": Release(r"BraTS2021_\d+", "brats2021", "BraTS2021_00000"),
    "brats2023_gli": _family("GLI"),
    "brats2023_ssa": _family("SSA"),
    "brats2023_men": _family("MEN"),
    "brats2023_ped": _family("PED"),
    "brats2023_met": _family("MET"),
}
_SEGMENTATIONS = ("seg", "segm")
_GRADES = ("HGG", "LGG")


@ADAPTERS.register("brats")
class BratsAdapter(Adapter):
    """One release of BraTS: 2017 to 2021, or a family (GLI, SSA, MEN, PED, MET) of 2023 and later.

    File names say everything, so case folders may lie in any nesting below one root or several:
    training, validation and additional data together. Images are ``CASE_t1.nii.gz`` or
    ``CASE-t1n.nii.gz``, compressed or not; ``CASE_seg`` is the label, which validation data lack.
    The names by release:

    * ``Brats18_2013_10_1_{flair,t1,t1ce,t2,seg}``, likewise ``Brats17_`` and ``BraTS19_``, in
      folders ``HGG`` and ``LGG``, which give the class;
    * ``BraTS20_Training_001_{...}`` and ``BraTS2021_00000_{...}``;
    * ``BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}``; the last number is the time point and becomes
      the session.

    Oddities of copies in circulation that are read as well: a label that does not bear its case's
    name but ends in ``seg`` or ``segm`` (``BraTS20_Training_355/W39_1998.09.19_Segm.nii``), and
    images wrapped in folders of their name (``BraTS-GLI-00000-000-t1c.nii/00000057_brain.nii``).

    Args:
        root: Folder of the release, or several.
        release: Name of the release, such as ``brats2021`` or ``brats2023_ped``; ``auto``
            recognises it by the file names.
        dataset: Name of the data set; by default that of the release.
        label_scheme: What the values of the labels mean; by default as in the release. Later years
            of a family keep the file names: PED of 2024 needs ``brats2024_ped``.
        class_table: CSV with the class of cases, such as ``name_mapping.csv``; where it has none,
            the folder HGG or LGG counts.
        class_column: Column of the classes, such as ``Grade``.
    """

    def __init__(
        self,
        root: list[str] | str,
        release: str = "auto",
        dataset: str | None = None,
        label_scheme: str | None = None,
        class_table: str | None = None,
        class_column: str | None = None,
    ) -> None:
        super().__init__()
        if release != "auto" and release not in RELEASES:
            raise ValueError(
                f"the brats adapter knows no release {release!r}{suggestion(release, RELEASES)} "
                f"(known: auto, {', '.join(RELEASES)})"
            )
        self.root = root
        self.release = release
        self.dataset = dataset
        self.label_scheme = label_scheme
        self.class_table = class_table
        self.class_column = class_column

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of the release; see `Adapter.scans`."""
        images = find_images(self.root, "brats")
        found = [_recognise(image) for image in images]
        name = self._choose_release(images, [each.release for each in found if each])
        release = RELEASES[name]
        scheme = self.label_scheme or release.label_scheme
        files = CaseFiles(self.dataset or name, scheme, "brats")
        grades: dict[Case, str] = {}
        pairs = list(zip(images, found, strict=True))
        # Labels by another name come last: they count only where there is no other.
        for image, each in sorted(pairs, key=_is_foreign):
            if each and each.release == name:
                _add(files, image, each, vocabulary)
                grades.setdefault(each.case, _grade(image))
            else:
                text = f"it belongs to {each.release}" if each else "its name is not that of a case"
                reason = f"{text}; cases of {name} are named like {release.example}"
                files.set_aside(image.path, reason, "rename it, or leave it out")
        class_of = files.classes(self.class_table, self.class_column)
        scans = files.scans(lambda case: class_of(case) or grades.get(case) or None)
        self.problems = files.problems
        return scans

    def _choose_release(self, images: list[ImageFile], releases: list[str]) -> str:
        counts = Counter(releases)
        found = ", ".join(f"{name} (files: {count})" for name, count in counts.most_common())
        place = self.root if isinstance(self.root, str) else ", ".join(self.root)
        if not counts:
            names = ", ".join(image.name for image in images[:3])
            examples = ", ".join(release.example for release in RELEASES.values())
            raise ValueError(
                f"{place} holds no case of BraTS (found: {names}; cases are named like "
                f"{examples}); correct 'root' of the brats adapter, or choose another adapter"
            )
        if self.release == "auto" and len(counts) > 1:
            raise ValueError(
                f"{place} holds several releases: {found}; choose one by 'release' of the brats "
                "adapter, or give its folder as 'root'"
            )
        if self.release != "auto" and self.release not in counts:
            raise ValueError(
                f"{place} holds no case of {self.release}, but of {found}; correct 'root' or "
                "'release' of the brats adapter"
            )
        return self.release if self.release != "auto" else next(iter(counts))


@dataclass(frozen=True)
class _Found:
    """Release and case of an image, and what it shows; None for a label by another name."""

    release: str
    case: Case
    suffix: str | None


def _recognise(image: ImageFile) -> _Found | None:
    for name, release in RELEASES.items():
        match = release.match_file(image.name)
        if match:
            return _Found(name, _case_of(match), match["suffix"])
    if re.split(r"[-_. ]", image.name)[-1].casefold() in _SEGMENTATIONS:
        for name, release in RELEASES.items():
            match = release.match_case(image.folder.name)
            if match:
                return _Found(name, _case_of(match), None)
    return None


def _is_foreign(pair: tuple[ImageFile, _Found | None]) -> bool:
    return pair[1] is not None and pair[1].suffix is None


def _case_of(match: re.Match[str]) -> Case:
    parts = match.groupdict()
    patient, session = parts.get("patient") or parts["case"], parts.get("session") or ""
    return Case(patient, session, name=parts["case"])


def _add(files: CaseFiles, image: ImageFile, found: _Found, vocabulary: ModalityVocabulary) -> None:
    if found.suffix is None:
        _add_foreign_label(files, image, found.case)
    elif found.suffix.casefold() in _SEGMENTATIONS:
        files.add(found.case, LABEL, image.path)
    else:
        files.add_scan(found.case, found.suffix, image.path, vocabulary)


def _add_foreign_label(files: CaseFiles, image: ImageFile, case: Case) -> None:
    reason = f"it looks like a label but does not bear the name of its case, {case.name}"
    if files.has(case, LABEL):
        files.set_aside(image.path, f"{reason}; another one does", "nothing, or remove it", case)
    else:
        files.note(image.path, f"{reason}; it is used", "check it, or rename it", case)
        files.add(case, LABEL, image.path)


def _grade(image: ImageFile) -> str:
    names = (name.upper() for name in image.folder_names())
    return next((name for name in names if name in _GRADES), "")
