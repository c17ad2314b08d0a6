"""The demo cohort: made on first use, then read like any other data set."""

from __future__ import annotations

from pathlib import Path

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.bids import BidsAdapter
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan


@ADAPTERS.register("synthetic")
class SyntheticAdapter(Adapter):
    """Multi-contrast brain MRI made from real anatomy, written as a BIDS tree of real files.

    Args:
        root: Folder of the tree; what is complete there is not made again.
        num_studies: Number of patients.
        spacing_mm: Resolution of the simulated anatomy; 1 is full resolution.
        seed: The same seed gives the same bytes.
        workers: Processes that make studies.
    """

    def __init__(
        self,
        root: str = "data/demo",
        num_studies: int = 24,
        spacing_mm: float = 2.0,
        seed: int = 0,
        workers: int = 2,
    ) -> None:
        super().__init__()
        self.root = root
        self.num_studies = num_studies
        self.spacing_mm = spacing_mm
        self.seed = seed
        self.workers = workers

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Make the cohort where it is missing and return its scans; see `Adapter.scans`."""
        # Imported here: the anatomy is loaded by this adapter alone.
        from brainmvp_lightning.phantom.cohort import write_cohort

        write_cohort(
            Path(self.root),
            num_studies=self.num_studies,
            spacing_mm=self.spacing_mm,
            seed=self.seed,
            workers=self.workers,
            progress=self.progress,
        )
        tree = BidsAdapter(self.root, dataset="demo", label_scheme="demo")
        scans = tree.scans(vocabulary)
        self.problems = tree.problems
        return scans
