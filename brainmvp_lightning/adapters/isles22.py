"""ISLES 2022: acute and subacute ischaemic stroke."""

from __future__ import annotations

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.bids_names import contradiction, parse_name
from brainmvp_lightning.adapters.cases import LABEL, Case, CaseFiles
from brainmvp_lightning.adapters.files import ImageFile, find_images
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan

_MASKS = ("msk", "mask", "lesion", "dseg")


@ADAPTERS.register("isles22")
class Isles22Adapter(Adapter):
    """The training data of ISLES 2022, which resemble BIDS but are not.

    Images are ``sub-strokecase0001_ses-0001_{flair,dwi,adc}.nii.gz`` in any case, below
    ``sub-strokecase0001/ses-0001``, with or without ``anat`` and ``dwi`` in between; labels are
    ``derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz``. Folders
    fill in what a file name leaves out. Label, DWI and ADC share a grid, FLAIR has its own: let
    ``recipe.reference`` begin with ``dwi``.

    Args:
        root: Folder of the release (``ISLES-2022``) or one above it, or several.
        dataset: Name of the data set.
    """

    def __init__(self, root: list[str] | str, dataset: str = "isles22") -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all cases; see `Adapter.scans`."""
        images = find_images(self.root, "isles22")
        files = CaseFiles(self.dataset, "lesion", "isles22")
        for image in images:
            _add(files, image, vocabulary)
        example = "sub-strokecase0001_ses-0001_dwi.nii.gz"
        files.check_any(self.root, example, (image.name for image in images))
        scans = files.scans()
        self.problems = files.problems
        return scans


def _add(files: CaseFiles, image: ImageFile, vocabulary: ModalityVocabulary) -> None:
    name = parse_name(image.folder / f"{image.name}.nii", image.root)
    if not name.subject:
        reason = "it is not named like sub-strokecase0001_ses-0001_dwi"
        files.set_aside(image.path, reason, "rename it, or leave it out")
        return
    fault = contradiction(name, image.root)
    if fault:
        files.set_aside(image.path, fault, "move or rename it")
        return
    case = Case(name.subject, name.session, None, f"sub-{name.subject}")
    if name.suffix.casefold() in _MASKS:
        files.add(case, LABEL, image.path)
    else:
        files.add_scan(case, name.suffix, image.path, vocabulary)
