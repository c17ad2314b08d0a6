"""Data sets in the Brain Imaging Data Structure."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.bids_derivatives import (
    brain_mask_of,
    derivative_images,
    fill_sessions,
    find_brain_masks,
    find_labels,
    set_strays_aside,
)
from brainmvp_lightning.adapters.bids_diffusion import (
    DiffusionError,
    DiffusionRule,
    choose_volumes,
)
from brainmvp_lightning.adapters.bids_names import (
    COMBINED_SUFFIXES,
    IGNORED_SUFFIXES,
    BidsName,
    contradiction,
    is_image,
    parse_modality,
    parse_name,
)
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, study_id
from brainmvp_lightning.volumes.nifti import GridPeek, peek_grid

FOLDERS = ("anat", "dwi", "swi")


@dataclass(frozen=True)
class BidsImage:
    """An image that can be used.

    Args:
        name: Its parsed name.
        volumes: Volumes whose mean is the image; empty for a file of one volume.
    """

    name: BidsName
    volumes: tuple[int, ...] = ()

    @cached_property
    def grid(self) -> GridPeek | None:
        """What its header says; None if it cannot be read."""
        return peek_grid(self.name.path)

    def preference(self) -> tuple[bool, float, int, str]:
        """Return a key by which the image to use comes first."""
        if self.grid is None:
            return True, float("inf"), 0, self.name.path.name
        voxel_mm3 = round(self.grid.voxel_mm3, 3)
        return self.grid.num_volumes > 1, voxel_mm3, -self.name.run, self.name.path.name


@ADAPTERS.register("bids")
class BidsAdapter(Adapter):
    """A BIDS tree: images below ``sub-*/[ses-*/]{anat,dwi,swi}``.

    Of several files of one modality in a session the finest resolution counts, then the later
    run, then the first name; a file of several volumes counts only if there is no other. The rest
    is set aside. Annotations are ``*_dseg`` or ``*_mask`` images below ``derivatives/*/sub-*``; a
    ``dseg`` comes before a ``mask``. Brain masks are ``*desc-brain_mask`` images there. What has no
    session in its name there belongs to the only session of its subject.

    Args:
        root: Folder that holds the ``sub-*`` folders.
        dataset: Name of the data set; by default that of the folder.
        class_column: Column of ``participants.tsv`` with the class of a patient; null for none.
        label_pattern: Annotations must match this, such as ``*desc-tumour_dseg.nii.gz``. With
            ``*``, those in the space of a template (``space-MNI152``) do not count.
        read_labels: Whether to look for annotations at all.
        label_scheme: What the values of annotations mean; null where that is not known.
        read_brain_masks: Whether to look for brain masks; the recipe says whether they are used.
        dwi_4d: What a diffusion series becomes: its ``trace`` (mean of the shell nearest to b =
            1000 s/mm2), its ``b0``, or set aside (``refuse``). Without a ``.bval`` file it is set
            aside.
    """

    def __init__(
        self,
        root: str,
        dataset: str | None = None,
        class_column: str | None = "class",
        label_pattern: str = "*",
        read_labels: bool = True,
        label_scheme: str | None = None,
        read_brain_masks: bool = True,
        dwi_4d: DiffusionRule = "trace",
    ) -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset
        self.class_column = class_column
        self.label_pattern = label_pattern
        self.read_labels = read_labels
        self.label_scheme = label_scheme
        self.read_brain_masks = read_brain_masks
        self.dwi_4d: DiffusionRule = dwi_4d

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all subjects; see `Adapter.scans`."""
        root = Path(self.root)
        subjects = sorted(path for path in root.glob("sub-*") if path.is_dir())
        if not subjects:
            found = "has no folders called sub-*" if root.is_dir() else "does not exist"
            raise FileNotFoundError(f"BIDS root {root} {found}; correct 'root' of the bids adapter")
        self.problems = []
        groups: dict[tuple[str, str, str], list[BidsImage]] = defaultdict(list)
        for name in self._in_place(_raw_images(root, subjects)):
            modality = self._modality(name, vocabulary)
            image = self._image(name, modality) if modality else None
            if modality and image:
                groups[name.subject, name.session, modality].append(image)
        chosen = {key: self._choose(key, images) for key, images in groups.items()}
        is_needed = self.read_labels or self.read_brain_masks
        derivatives = list(self._in_place(derivative_images(root) if is_needed else []))
        return self._scans(chosen, derivatives, vocabulary)

    def _in_place(self, names: Iterable[BidsName]) -> Iterator[BidsName]:
        for name in names:
            fault = contradiction(name, Path(self.root))
            if fault:
                self._set_aside(name, fault, "move or rename it")
            else:
                yield name

    def _scans(
        self,
        chosen: dict[tuple[str, str, str], BidsImage],
        derivatives: list[BidsName],
        vocabulary: ModalityVocabulary,
    ) -> list[Scan]:
        visits = {(subject, session) for subject, session, _ in chosen}
        derivatives = fill_sessions(derivatives, visits)
        labels: dict[tuple[str, str], BidsName] = {}
        if self.read_labels:
            labels = find_labels(derivatives, self.label_pattern, vocabulary, self._set_aside)
            set_strays_aside(labels, visits, self._set_aside)
        masks: dict[tuple[str, str, bool], Path] = {}
        if self.read_brain_masks:
            masks = find_brain_masks(derivatives, vocabulary, self._set_aside)
        classes = self._classes(Path(self.root))
        scans = []
        for (subject, session, modality), image in chosen.items():
            label = labels.get((subject, session))
            scan = Scan(
                patient=subject,
                session=session,
                dataset=self._name(),
                modality=modality,
                path=image.name.path,
                label=label.path if label else None,
                target_class=classes.get(subject),
                label_scheme=self.label_scheme if label else None,
                brain_mask=brain_mask_of(masks, (subject, session), modality),
                volumes=image.volumes,
            )
            scans.append(scan)
        return scans

    def _name(self) -> str:
        return self.dataset or Path(self.root).resolve().name

    def _set_aside(self, name: BidsName, reason: str, remedy: str) -> None:
        study = study_id(self._name(), name.subject, name.session)
        self.problems.append(Problem(study, str(name.path), reason, remedy))

    def _modality(self, name: BidsName, vocabulary: ModalityVocabulary) -> str | None:
        if name.suffix in IGNORED_SUFFIXES:
            return None
        if name.suffix.casefold() in COMBINED_SUFFIXES:
            reason = "it holds PD and T2 together, as two volumes of one file"
            self._set_aside(name, reason, "split it into a PDw and a T2w file")
            return None
        if name.entities.get("part", "mag") not in ("mag", "magnitude"):
            self._set_aside(name, "it is not a magnitude image", "nothing, or leave it out")
            return None
        try:
            return parse_modality(name, vocabulary)
        except UnknownModalityError as error:
            self._set_aside(name, str(error), "add it there, or leave the file out")
            return None

    def _image(self, name: BidsName, modality: str) -> BidsImage | None:
        image = BidsImage(name)
        if modality != "dwi" or image.grid is None or image.grid.num_volumes == 1:
            return image
        try:
            volumes = choose_volumes(name, image.grid.num_volumes, self.dwi_4d, Path(self.root))
        except DiffusionError as error:
            self._set_aside(name, error.reason, error.remedy)
            return None
        return BidsImage(name, volumes)

    def _choose(self, key: tuple[str, str, str], images: list[BidsImage]) -> BidsImage:
        best, *others = sorted(images, key=BidsImage.preference)
        for image in others:
            reason = f"the study has a better {key[2]}, which is used: {best.name.path.name}"
            self._set_aside(image.name, reason, "nothing, or remove one of the two")
        return best

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


def _raw_images(root: Path, subjects: Iterable[Path]) -> Iterable[BidsName]:
    for subject in subjects:
        for path in sorted(subject.glob("**/*")):
            if is_image(path) and path.parent.name in FOLDERS:
                yield parse_name(path, root)
