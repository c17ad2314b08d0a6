"""Data sets described by a CSV table."""

from __future__ import annotations

from pathlib import Path

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan


@ADAPTERS.register("table")
class TableAdapter(Adapter):
    """Scans listed in a CSV table, one row each.

    Columns: patient, modality, path (required), session, dataset, label, class, split. Relative
    paths are relative to the table.

    Args:
        path: The table.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return one scan for each usable row; see `Adapter.scans`."""
        manifest = Manifest.read(Path(self.path), vocabulary)
        self.problems = list(manifest.problems)
        return list(manifest.scans)
