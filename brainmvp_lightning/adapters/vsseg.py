"""Vestibular-Schwannoma-SEG, converted to NIfTI."""

from __future__ import annotations

import re
from typing import Literal

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.cases import LABEL, Case, CaseFiles
from brainmvp_lightning.adapters.files import ImageFile, find_images
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan

_NAME = re.compile(r"vs_gk(?:_(?P<number>\d+))?_(?P<what>t1|t2|seg)(?:_ref(?P<grid>t[12]))?", re.I)
_CASE = re.compile(r"(?P<case>vs_gk_\d+|vs-seg-\d+)(?:_(?P<grid>t[12]))?", re.I)
# The converter can export every contour, not only the tumour.
_EXTRAS = re.compile(r"vs_gk(_\d+)?_struc\w*", re.I)


@ADAPTERS.register("vsseg")
class VsSegAdapter(Adapter):
    """Vestibular-Schwannoma-SEG after the conversion that its authors publish.

    A case is a folder ``vs_gk_1`` with ``vs_gk_t1_refT1``, ``vs_gk_t2_refT2``, ``vs_gk_seg_refT1``
    and ``vs_gk_seg_refT2``; ``ref`` names the grid. With registration there is one grid only, and
    the other scan lies on it as well (``vs_gk_t2_refT1``). Read likewise: folders ``vs_gk_1_t1``
    and ``vs_gk_1_t2`` for the two grids, folders ``VS-SEG-001``, and names with the number in them
    (``vs_gk_1_t1_refT1``). A scan without ``ref`` lies on its own grid, a label without ``ref`` on
    that of its folder. Files on the other grid and exported contours are left out.

    Args:
        root: Folder of the converted data, or several.
        dataset: Name of the data set.
        reference: Grid whose label and scans are used. The paper segments on T1, the published
            code on T2.
        t1_is: Modality of the T1. It was acquired with contrast agent, so it is T1CE: the
            templates and the encoder have seen such images under this name. The paper calls it T1.

    Source:
        BrainMVP, supplement B: T1, 242 cases.
    """

    def __init__(
        self,
        root: list[str] | str,
        dataset: str = "vsseg",
        reference: Literal["t1", "t2"] = "t1",
        t1_is: str = "t1ce",
    ) -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset
        self.reference = reference
        self.t1_is = t1_is

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all cases; see `Adapter.scans`."""
        roles = {"t1": vocabulary.parse(self.t1_is), "t2": "t2", "seg": LABEL}
        images = find_images(self.root, "vsseg")
        files = CaseFiles(self.dataset, "schwannoma", "vsseg")
        others = 0
        for image in images:
            others += self._add(files, image, roles) == "other"
        if others and not len(files):
            raise ValueError(
                f"{self.root} holds only files on the grid of the other scan; change 'reference' "
                f"of the vsseg adapter, which is {self.reference!r}"
            )
        files.check_any(self.root, "vs_gk_t1_refT1.nii.gz", (image.name for image in images))
        scans = files.scans()
        self.problems = files.problems
        return scans

    def _add(self, files: CaseFiles, image: ImageFile, roles: dict[str, str]) -> str:
        if _EXTRAS.fullmatch(image.name):
            return "extra"
        match, folder = _NAME.fullmatch(image.name), _folder_of(image)
        case = _case_of(match, folder)
        if match is None or case is None:
            reason = "it is not named like vs_gk_t1_refT1, in a folder such as vs_gk_1"
            files.set_aside(image.path, reason, "rename it, or leave it out")
            return "unknown"
        what = match["what"].casefold()
        own = what if what != "seg" else (folder["grid"] if folder else None)
        grid = match["grid"] or own
        if grid is None:
            reason = "its name does not say whether it lies on the T1 or the T2"
            files.set_aside(image.path, reason, "add _refT1 or _refT2 to its name", case)
            return "unknown"
        if grid.casefold() != self.reference:
            return "other"
        # A registered pair can lie on one grid; each is then the only one of its kind.
        files.add(case, roles[what], image.path)
        return "used"


def _folder_of(image: ImageFile) -> re.Match[str] | None:
    found = (_CASE.fullmatch(name) for name in image.folder_names())
    return next((match for match in found if match), None)


def _case_of(match: re.Match[str] | None, folder: re.Match[str] | None) -> Case | None:
    if match and match["number"]:
        return Case(f"vs_gk_{match['number']}")
    return Case(folder["case"]) if folder else None
