"""Metrics as a table in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning.loggers.place import LOGS, InRunFolder, RunPlace
from brainmvp_lightning.loggers.registry import LOGGERS
from brainmvp_lightning.weights.sharing import shareable


@LOGGERS.register("csv")
class CSVTable(InRunFolder, CSVLogger):
    """Writes ``logs/version_<n>/metrics.csv`` in the run folder.

    Args:
        save_dir: Folder in the place of the run folder.
        flush_logs_every_n_steps: Lines of the table that are written together.
    """

    def __init__(self, save_dir: str | None = None, flush_logs_every_n_steps: int = 100) -> None:
        super().__init__(
            save_dir or ".", name=LOGS, flush_logs_every_n_steps=flush_logs_every_n_steps
        )
        self._is_placed = save_dir is not None

    def settle(self, place: RunPlace) -> None:
        """Go to the run folder, unless another one was asked for."""
        super().settle(place)
        if not self._is_placed:
            self._save_dir = self._root_dir = str(Path(place.folder))
            self._version = place.version

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:  # noqa: ANN401 - Lightning's
        """Write the configuration to ``hparams.yaml``, with paths shortened."""
        super().log_hyperparams(shareable(self.facts(params or {})))
