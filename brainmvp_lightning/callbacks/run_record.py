"""What a run was, beside its results and inside its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from brainmvp_lightning.callbacks.checkpoints import continues_here
from brainmvp_lightning.callbacks.run_facts import (
    configuration_hash,
    data_facts,
    device_name,
    git_state,
    is_trial,
    parameter_counts,
    plugins,
    versions,
)
from brainmvp_lightning.volumes.atomic import write_bytes

FILE = "run.json"
START_FILE = "start.json"
FORMAT = 1


class RunRecord(Callback):
    """Writes ``run.json`` to the run folder when a training starts, and into each checkpoint.

    It holds versions, plugins, the git state of the working directory, hashes and counts of the
    data, and the number of parameters; no study, host, user or absolute path. A resumed run writes
    it anew. Whether it goes on from a checkpoint of its folder stands there under ``continues``,
    and beside each log in ``start.json``. Checkpoints have the record under ``run``, and the
    configuration under ``configuration``.

    Args:
        configuration: Resolved configuration of the run, if there is one.
    """

    def __init__(self, configuration: dict[str, Any] | None = None) -> None:
        self.configuration = configuration
        self.record: dict[str, Any] | None = None
        """What was written; on the first process only."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Collect the facts and write the file."""
        if is_trial(trainer) or not trainer.is_global_zero:
            return
        self.record = run_record(trainer, pl_module, self.configuration)
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / FILE, (json.dumps(self.record, indent=1) + "\n").encode())
        start = json.dumps({"continues": self.record["continues"]}) + "\n"
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                Path(logger.log_dir).mkdir(parents=True, exist_ok=True)
                write_bytes(Path(logger.log_dir) / START_FILE, start.encode())

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the facts to a checkpoint."""
        del trainer, pl_module
        if self.record is not None:
            checkpoint["run"] = self.record
        if self.configuration is not None:
            checkpoint["configuration"] = self.configuration


def run_record(
    trainer: pl.Trainer, task: pl.LightningModule, configuration: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what a run is, as plain JSON values."""
    data: Any = getattr(trainer, "datamodule", None)
    seed = getattr(data, "seed", None)
    return {
        "format": FORMAT,
        "command": "fit",
        "continues": _continues(trainer),
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seed": None if seed is None else int(seed),
        "world_size": trainer.world_size,
        "device": device_name(trainer),
        "versions": versions(),
        "plugins": plugins(),
        "git": git_state(Path.cwd()),
        "data": data_facts(data),
        "parameters": parameter_counts(task),
        "configuration_hash": None if configuration is None else configuration_hash(configuration),
    }


def _continues(trainer: pl.Trainer) -> bool | None:
    """Tell whether a run goes on from its own checkpoint; None if that is not known yet."""
    is_late = trainer.strategy.restore_checkpoint_after_setup
    return None if is_late else continues_here(trainer)
