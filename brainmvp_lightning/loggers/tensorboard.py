"""Metrics, pictures and the configuration for TensorBoard."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning.loggers.place import LOGS, InRunFolder, RunPlace
from brainmvp_lightning.loggers.registry import LOGGERS
from brainmvp_lightning.weights.sharing import shareable


@LOGGERS.register("tensorboard")
class TensorBoardEvents(InRunFolder, TensorBoardLogger):
    """Writes ``logs/tensorboard/version_<n>`` in the run folder; see ``tensorboard --logdir``.

    Configuration and file names tell neither absolute paths nor the machine.

    Args:
        save_dir: Folder in the place of the run folder.
        flush_secs: Seconds between two writes to disk.
    """

    def __init__(self, save_dir: str | None = None, flush_secs: int = 30) -> None:
        folder = str(Path(save_dir or ".") / LOGS)
        super().__init__(folder, name="tensorboard", default_hp_metric=False, flush_secs=flush_secs)
        self._is_placed = save_dir is not None

    def settle(self, place: RunPlace) -> None:
        """Go to the run folder, unless another one was asked for."""
        super().settle(place)
        if not self._is_placed:
            self._root_dir = str(place.folder / LOGS)
            self._version = place.version

    @rank_zero_only
    def log_hyperparams(self, params: Any, metrics: Any = None, step: Any = None) -> None:  # noqa: ANN401
        """Show the configuration as a text, with paths shortened; ``hparams.yaml`` holds it too."""
        facts = shareable(self.facts(params))
        super().log_hyperparams(facts, metrics, step)
        if facts:
            text = yaml.safe_dump(facts, sort_keys=False)
            self.experiment.add_text("configuration", f"```yaml\n{text}```")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the files, and take the name of the machine out of theirs."""
        super().finalize(status)
        host = f".{socket.gethostname()}."
        for path in Path(self.log_dir).glob(f"events.out.tfevents.*{host}*"):
            path.rename(path.with_name(path.name.replace(host, ".", 1)))
