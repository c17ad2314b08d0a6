"""MRBrainS13: brain tissue segmentation at 3 T."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.cases import LABEL, Case, CaseFiles
from brainmvp_lightning.adapters.files import ImageFile, find_images
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan

_SCANS = {"t1": "t1", "t2_flair": "flair"}
_LABELS = {"testing": "labelsfortesting", "training": "labelsfortraining"}
_SCHEMES = {"testing": "mrbrains13", "training": "mrbrains13_training"}
_SETS = {"training": "train", "test": "test"}


@ADAPTERS.register("mrbrains13")
class MrBrains13Adapter(Adapter):
    """The NIfTI release of MRBrainS13: 5 training and 15 test cases.

    A case is a folder such as ``TrainingData/1`` or ``TestData/1`` with ``T1``, ``T1_IR``,
    ``T2_FLAIR``, ``LabelsForTraining`` and ``LabelsForTesting``, each ``.nii`` or ``.nii.gz``.
    Numbers begin at 1 in both, so patients are called ``training1`` and ``test1``. ``T1_1mm`` is
    not aligned with the labels and left out. A case without labels is used without.

    Args:
        root: Folder above ``TrainingData`` and ``TestData``, or these folders.
        dataset: Name of the data set.
        t1_ir: Modality that the inversion recovery T1 counts as; null leaves it out. The paper
            lists the data set as T1, T1CE and FLAIR, so T1_IR stands in for T1CE.
        labels: ``testing`` has CSF, GM and WM; ``training`` the eight structures behind them.
        split: ``folder`` trains on ``TrainingData`` and tests on ``TestData`` as the paper does;
            ``ratios`` deals the patients by ``split_ratios``.

    Source:
        BrainMVP, supplement B: T1, T1CE, FLAIR; 5 cases for training, 15 for test.
    """

    def __init__(
        self,
        root: list[str] | str,
        dataset: str = "mrbrains13",
        t1_ir: str | None = "t1ce",
        labels: Literal["testing", "training"] = "testing",
        split: Literal["folder", "ratios"] = "folder",
    ) -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset
        self.t1_ir = t1_ir
        self.labels = labels
        self.split = split

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all cases; see `Adapter.scans`."""
        roles = {**_SCANS, _LABELS[self.labels]: LABEL}
        if self.t1_ir is not None:
            roles["t1_ir"] = vocabulary.parse(self.t1_ir)
        known = {*_SCANS, *_LABELS.values(), "t1_ir", "t1_1mm"}
        images = find_images(self.root, "mrbrains13")
        files = CaseFiles(self.dataset, _SCHEMES[self.labels], "mrbrains13")
        owners: dict[Case, Path] = {}
        for image in images:
            name, case = image.name.casefold(), self._case(image)
            if name not in known:
                reason = "it is not named like T1, T1_IR, T2_FLAIR or LabelsForTesting"
                files.set_aside(image.path, reason, "rename it, or leave it out")
            elif owners.setdefault(case, image.folder) != image.folder:
                reason = f"the case {case.patient} is already that in {owners[case]}"
                remedy = "call the folder above it TrainingData or TestData, or rename its folder"
                files.set_aside(image.path, reason, remedy)
            elif name in roles:
                files.add(case, roles[name], image.path)
        files.check_any(self.root, "TrainingData/1/T1.nii", (image.name for image in images))
        own = [image for image in images if owners.get(self._case(image)) == image.folder]
        self._note_other_labels(files, own)
        scans = files.scans()
        self.problems = files.problems
        return scans

    def _note_other_labels(self, files: CaseFiles, images: list[ImageFile]) -> None:
        for image in images:
            case = self._case(image)
            if image.name.casefold() in _LABELS.values() and not files.has(case, LABEL):
                reason = f"the case has no label by 'labels: {self.labels}', but this one"
                files.set_aside(image.path, reason, "change 'labels', or add the other", case)

    def _case(self, image: ImageFile) -> Case:
        """Name a case after its folder and the nearest folder above that names a set."""
        # Folders above the root count as well: it may be that of a set or of a case.
        around = [image.folder, *image.folder.parents][1:3]
        found = (re.match(r"(training|test)", folder.name, re.I) for folder in around)
        kind = next((match[1].casefold() for match in found if match), "")
        split = _SETS.get(kind) if self.split == "folder" else None
        return Case(f"{kind}{image.folder.name}", "", split)
