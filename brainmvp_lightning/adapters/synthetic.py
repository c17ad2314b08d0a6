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
        diagnoses: Findings that the studies have in turn, such as HGG and LGG; by default those of
            each site, healthy people among them.
        modalities: What every study holds; by default subsets of all sizes.
        label_scheme: What annotations are said to be; brats2023 fits where all are gliomas.
    """

    def __init__(
        self,
        root: str = "data/demo",
        num_studies: int = 24,
        spacing_mm: float = 2.0,
        seed: int = 0,
        workers: int = 2,
        diagnoses: list[str] | None = None,
        modalities: list[str] | None = None,
        label_scheme: str = "demo",
    ) -> None:
        super().__init__()
        self.root = root
        self.num_studies = num_studies
        self.spacing_mm = spacing_mm
        self.seed = seed
        self.workers = workers
        self.diagnoses = diagnoses or []
        self.modalities = modalities or []
        self.label_scheme = label_scheme

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
            diagnoses=self.diagnoses,
            modalities=self.modalities,
        )
        tree = BidsAdapter(self.root, dataset="demo", label_scheme=self.label_scheme)
        scans = tree.scans(vocabulary)
        self.problems = tree.problems
        return scans
