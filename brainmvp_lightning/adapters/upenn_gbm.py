"""UPENN-GBM: glioblastoma MRI of the University of Pennsylvania."""

from __future__ import annotations

import re
from typing import Literal

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.cases import LABEL, Case, CaseFiles
from brainmvp_lightning.adapters.files import ImageFile, find_images
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan

_NAME = re.compile(
    r"(?P<case>(?P<patient>UPENN-GBM-\d+)_(?P<session>\d+))_(?P<suffix>[A-Za-z]\w*)", re.I
)
# Images that come with the release: with skull, perfusion, diffusion.
_EXTRAS = re.compile(r"\w+_unstripped|dsc\w*|dti\w*|perf\w*", re.I)
_RANKS = {
    "manual": {"manual": 0},
    "automated": {"automated": 0},
    "both": {"manual": 0, "automated": 1},
}


@ADAPTERS.register("upenn_gbm")
class UpennGbmAdapter(Adapter):
    """The NIfTI release of UPENN-GBM.

    Images are ``UPENN-GBM-00001_11_{T1,T1GD,T2,FLAIR}.nii.gz`` (below ``images_structural``),
    labels ``UPENN-GBM-00001_11_segm.nii.gz`` (``images_segm``, corrected by hand) and
    ``UPENN-GBM-00001_11_automated_approx_segm.nii.gz`` (``automated_segm``). The number after the
    patient becomes the session: 11 is the first visit, 21 a follow-up. Images with skull, DSC and
    DTI are left out.

    Args:
        root: Folder above ``images_structural`` and its neighbours, or several folders.
        dataset: Name of the data set.
        labels: Which labels count; of ``both``, the one by hand where there is one.
        only_labelled: Leave out visits without such a label.
        class_table: CSV of the clinical data, whose ``ID`` is patient and visit.
        class_column: Column of the classes, such as ``IDH1``.
    """

    def __init__(
        self,
        root: list[str] | str,
        dataset: str = "upenn_gbm",
        labels: Literal["manual", "automated", "both"] = "manual",
        only_labelled: bool = False,
        class_table: str | None = None,
        class_column: str | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset
        self.labels = labels
        self.only_labelled = only_labelled
        self.class_table = class_table
        self.class_column = class_column

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all visits; see `Adapter.scans`."""
        images = find_images(self.root, "upenn_gbm")
        files = CaseFiles(self.dataset, "brats2021", "upenn_gbm")
        for image in images:
            self._add(files, image, vocabulary)
        example = "UPENN-GBM-00001_11_T1.nii.gz"
        files.check_any(self.root, example, (image.name for image in images))
        class_of = files.classes(self.class_table, self.class_column)
        scans = files.scans(class_of, self.only_labelled)
        self.problems = files.problems
        if not scans:
            raise ValueError(
                f"no visit below {self.root} has a label by 'labels: {self.labels}'; add the "
                "folder of the labels, choose others, or set 'only_labelled' of the upenn_gbm "
                "adapter to false"
            )
        return scans

    def _add(self, files: CaseFiles, image: ImageFile, vocabulary: ModalityVocabulary) -> None:
        match = _NAME.fullmatch(image.name)
        if match is None:
            reason = "it is not named like UPENN-GBM-00001_11_T1"
            files.set_aside(image.path, reason, "rename it, or leave it out")
            return
        case = Case(match["patient"], match["session"], None, match["case"])
        suffix = match["suffix"].casefold()
        if suffix.endswith("segm"):
            rank = _RANKS[self.labels].get("automated" if "automated" in suffix else "manual")
            if rank is not None:
                files.add(case, LABEL, image.path, rank)
        elif not _EXTRAS.fullmatch(suffix):
            files.add_scan(case, match["suffix"], image.path, vocabulary)
