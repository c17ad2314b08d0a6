"""An adapter: from the files of a data set to scans. No torch here: `prepare` starts at once."""

from __future__ import annotations

from pathlib import Path

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan

ENDING = ".nii.gz"


class FlatFolder(Adapter):
    """All images in one folder, called ``<subject>_<modality>.nii.gz``.

    Args:
        root: The folder.
        dataset: Name of the data set.
    """

    def __init__(self, root: str, dataset: str = "flat") -> None:
        super().__init__()
        self.root = root
        self.dataset = dataset

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return a scan for each image whose name says what it is; see `Adapter.scans`."""
        self.problems = []  # a second call starts anew
        scans = []
        for path in sorted(Path(self.root).glob(f"*{ENDING}")):
            subject, _, contrast = path.name.removesuffix(ENDING).rpartition("_")
            try:
                # The vocabulary knows other spellings: T1w, t1n and MPRAGE are t1.
                modality = vocabulary.parse(contrast)
            except UnknownModalityError as error:
                self._set_aside(path, str(error))
                continue
            if not subject:
                self._set_aside(path, "its name has no subject before the modality")
                continue
            scans.append(Scan(subject, "", self.dataset, modality, path))
        if not scans:
            raise FileNotFoundError(
                f"{self.root} holds no <subject>_<modality>{ENDING}; correct 'root' of flat_folder"
            )
        return scans

    def _set_aside(self, path: Path, reason: str) -> None:
        # Files that cannot be used are told, each with a remedy, and the rest goes on.
        remedy = f"call it <subject>_<modality>{ENDING}, or leave it out"
        self.problems.append(Problem("", str(path), reason, remedy))
