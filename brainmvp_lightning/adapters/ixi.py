"""The IXI data set: healthy people from three hospitals in London."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Literal

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.files import ImageFile, find_images
from brainmvp_lightning.adapters.phenotype_table import PhenotypeTable
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, study_id

MODALITIES = {"T1": "t1", "T2": "t2", "PD": "pd", "MRA": "mra"}

_NAME = re.compile(r"IXI0*(\d+)-([A-Za-z]+)-(\d+)-([A-Za-z0-9]+)(?:-\d+)?", re.IGNORECASE)
_NAME_SAYS = "IXI<number>-<hospital>-<number>-<T1, T2, PD or MRA>.nii.gz"


@ADAPTERS.register("ixi")
class IxiAdapter(Adapter):
    """IXI: T1, T2, PD and MRA with skull, not registered; diffusion series are left alone.

    Names such as ``IXI002-Guys-0828-T1.nii.gz`` say everything, so the files may lie in the folders
    ``IXI-T1``, ``IXI-T2``, ``IXI-PD`` and ``IXI-MRA``, or all in one.

    Args:
        root: Folder that holds the files or their folders.
        dataset: Name of the data set.
        site: What becomes of the hospital: the ``session`` of the study, a part of the ``dataset``
            name (``ixi-Guys``), or nothing (``drop``). The second number joins the session of
            people who were there under several.
        complete_only: Whether people without all four contrasts are set aside.
        demographics: ``IXI.xls`` saved as CSV, with a column ``IXI_ID``; null for none.
        class_column: Column of that table with the class of a person; null for none.

    Source:
        BrainMVP, section 4: 568 cases with T1, T2, MRA and PD.
    """

    def __init__(
        self,
        root: str,
        dataset: str = "ixi",
        site: Literal["session", "dataset", "drop"] = "session",
        complete_only: bool = False,
        demographics: str | None = None,
        class_column: str | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset
        self.site = site
        self.complete_only = complete_only
        self.demographics = demographics
        self.class_column = class_column

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all people; see `Adapter.scans`."""
        del vocabulary  # the names of the files are fixed
        self.problems = []
        classes = self._classes()
        images = find_images(self.root, "ixi")
        exams: dict[tuple[int, str], set[str]] = defaultdict(set)
        for match in filter(None, (_NAME.fullmatch(image.name) for image in images)):
            exams[int(match[1]), match[2] if self.site != "drop" else ""].add(match[3])
        repeated = {person for person, numbers in exams.items() if len(numbers) > 1}
        found = (self._scan(image, classes, repeated) for image in images)
        scans = [scan for scan in found if scan is not None]
        if not scans:
            raise FileNotFoundError(
                f"{self.root} has no images called {_NAME_SAYS}; correct 'root' of the ixi adapter"
            )
        return self._complete(scans) if self.complete_only else scans

    def _scan(
        self, image: ImageFile, classes: dict[int, str], repeated: set[tuple[int, str]]
    ) -> Scan | None:
        path = image.path
        match = _NAME.fullmatch(image.name)
        if match is None:
            reason = f"its name is not {_NAME_SAYS}"
            self.problems.append(Problem("", str(path), reason, "rename it, or leave it out"))
            return None
        number, site, exam, contrast = match.groups()
        if contrast.upper() == "DTI":
            return None
        patient = f"IXI{int(number):03}"
        dataset = f"{self.dataset}-{site}" if self.site == "dataset" else self.dataset
        session = site if self.site == "session" else ""
        if (int(number), site if self.site != "drop" else "") in repeated:
            session = f"{session}-{exam}".strip("-")
        if contrast.upper() not in MODALITIES:
            reason = f"its contrast {contrast!r} is none of {', '.join(MODALITIES)}"
            study = study_id(dataset, patient, session)
            self.problems.append(Problem(study, str(path), reason, "rename it, or leave it out"))
            return None
        modality = MODALITIES[contrast.upper()]
        target = classes.get(int(number))
        return Scan(patient, session, dataset, modality, path, target_class=target)

    def _complete(self, scans: list[Scan]) -> list[Scan]:
        groups: dict[tuple[str, str, str], list[Scan]] = defaultdict(list)
        for scan in scans:
            groups[scan.dataset, scan.patient, scan.session].append(scan)
        kept = []
        for group in groups.values():
            found = {scan.modality for scan in group}
            missing = [name for name in MODALITIES.values() if name not in found]
            if not missing:
                kept += group
                continue
            reason = f"the person has no {' and no '.join(missing)}, and 'complete_only' is set"
            for scan in group:
                study = study_id(scan.dataset, scan.patient, scan.session)
                problem = Problem(study, str(scan.path), reason, "nothing, or set it to false")
                self.problems.append(problem)
        return kept

    def _classes(self) -> dict[int, str]:
        if self.demographics is None or self.class_column is None:
            return {}
        table = PhenotypeTable.read(Path(self.demographics))
        key, column = table.column("IXI_ID"), table.column(self.class_column)
        found: dict[int, set[str]] = defaultdict(set)
        for row in table.rows:
            digits = re.sub(r"\D", "", row[key].removesuffix(".0"))
            if digits and row[column]:
                found[int(digits)].add(row[column])
        for number, values in found.items():
            if len(values) > 1:  # the table lists some people twice
                reason = f"IXI{number:03} has several classes ({', '.join(sorted(values))})"
                remedy = "delete all but one of its rows; the person is used without a class"
                study = study_id(self.dataset, f"IXI{number:03}", "")
                problem = Problem(study, str(table.path), reason, remedy, is_handled=True)
                self.problems.append(problem)
        return {number: values.pop() for number, values in found.items() if len(values) == 1}
