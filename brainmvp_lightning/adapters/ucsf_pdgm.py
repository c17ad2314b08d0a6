"""UCSF-PDGM: preoperative diffuse glioma MRI of the University of California San Francisco."""

from __future__ import annotations

import re
from pathlib import Path

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.cases import BRAIN_MASK, LABEL, Case, CaseFiles
from brainmvp_lightning.adapters.files import find_images
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.study import Scan

_NAME = re.compile(
    r"(?P<case>UCSF-PDGM-(?P<number>\d+)(?:_(?P<session>FU\d+d))?)_(?P<suffix>[A-Za-z]\w*)", re.I
)
# Releases 1 and 2 counted six follow-up visits as patients of their own. In release 3 they got the
# patient's number; left as they are, one patient could be in two splits.
_FOLLOW_UPS = {
    138: (429, "FU003d"),
    175: (396, "FU175d"),
    181: (409, "FU001d"),
    278: (431, "FU001d"),
    289: (391, "FU016d"),
    315: (433, "FU007d"),
}
_SPELLINGS = {"t1gad": "t1ce"}
# Contrasts and maps that come with every case.
_EXTRAS = re.compile(r"swi|asl(_\w+)?|dti\w*|hardi\w*|brain_parenchyma_segmentation", re.I)


@ADAPTERS.register("ucsf_pdgm")
class UcsfPdgmAdapter(Adapter):
    """The NIfTI release of UCSF-PDGM.

    Images are ``UCSF-PDGM-0004_{T1,T1c,T2,FLAIR,DWI,ADC,...}.nii.gz``; the folder of a case
    (``UCSF-PDGM-0004_nifti`` or any other) does not matter. ``tumor_segmentation`` is the label,
    ``brain_segmentation`` the brain mask. ``_FU003d`` after the number marks a follow-up and
    becomes the session; the six follow-ups that releases 1 and 2 counted as patients (0138, 0175,
    0181, 0278, 0289, 0315) go to the patient they belong to. SWI, ASL and the diffusion tensor
    maps are left out unless they are named in ``extra_modalities``.

    Args:
        root: Folder of the release, or several.
        dataset: Name of the data set.
        bias_corrected: Use the images that end in ``_bias`` (corrected for the bias field) where
            there are both; otherwise the plain ones. What there is but once is always used.
        class_table: CSV of the metadata, whose ``ID`` has three digits (``UCSF-PDGM-004``).
        class_column: Column of the classes, such as ``WHO CNS Grade``.
    """

    def __init__(
        self,
        root: list[str] | str,
        dataset: str = "ucsf_pdgm",
        bias_corrected: bool = False,
        class_table: str | None = None,
        class_column: str | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset
        self.bias_corrected = bias_corrected
        self.class_table = class_table
        self.class_column = class_column

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all cases; see `Adapter.scans`."""
        images = find_images(self.root, "ucsf_pdgm")
        files = CaseFiles(self.dataset, "brats2021", "ucsf_pdgm")
        for image in images:
            match = _NAME.fullmatch(image.name)
            if match:
                self._add(files, match, image.path, vocabulary)
            else:
                reason = "it is not named like UCSF-PDGM-0004_T1"
                files.set_aside(image.path, reason, "rename it, or leave it out")
        files.check_any(self.root, "UCSF-PDGM-0004_T1.nii.gz", (image.name for image in images))
        scans = files.scans(files.classes(self.class_table, self.class_column))
        self.problems = files.problems
        return scans

    def _add(
        self, files: CaseFiles, match: re.Match[str], path: Path, vocabulary: ModalityVocabulary
    ) -> None:
        case, suffix = _case_of(match), match["suffix"]
        if suffix.casefold() in ("tumor_segmentation", "brain_segmentation"):
            files.add(case, LABEL if suffix.casefold().startswith("tumor") else BRAIN_MASK, path)
            return
        plain = re.sub(r"_bias$", "", suffix, flags=re.I)
        spelling = _SPELLINGS.get(plain.casefold(), plain)
        rank = int((plain != suffix) != self.bias_corrected)
        if not (_EXTRAS.fullmatch(plain) and not _is_known(spelling, vocabulary)):
            files.add_scan(case, spelling, path, vocabulary, rank)


def _case_of(match: re.Match[str]) -> Case:
    number, session = int(match["number"]), match["session"] or ""
    if not session:
        number, session = _FOLLOW_UPS.get(number, (number, ""))
    return Case(f"UCSF-PDGM-{number:04d}", session, None, match["case"])


def _is_known(spelling: str, vocabulary: ModalityVocabulary) -> bool:
    try:
        vocabulary.parse(spelling)
    except UnknownModalityError:
        return False
    return True
