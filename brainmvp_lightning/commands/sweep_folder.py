"""A folder of its own for each run of a sweep."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

SWEEP_ID, RUN_ID = "WANDB_SWEEP_ID", "WANDB_RUN_ID"
SWEEPS = "sweeps"


def follow_agent(config: Namespace, environment: Mapping[str, str] = os.environ) -> None:
    """Send a training that wandb's agent starts to ``<root>/sweeps/<sweep>/<run>``.

    All trials of a sweep have the same configuration but for some values, and would write over
    each other.

    Args:
        config: Of a command; changed in place if that is ``fit``.
        environment: The agent sets ``WANDB_SWEEP_ID`` and ``WANDB_RUN_ID``, also for further
            processes of a run.
    """
    sweep, run = environment.get(SWEEP_ID), environment.get(RUN_ID)
    if not sweep or not run or config.get("subcommand") != "fit":
        return
    trainer, inner = config.fit.trainer, Path(SWEEPS, sweep, run)
    root = Path(trainer.default_root_dir or ".")
    if root.parts[-len(inner.parts) :] != inner.parts:  # the configuration of such a run has it
        move_run(trainer, root / inner)


def move_run(trainer: Namespace, folder: Path) -> None:
    """Send a run, and its loggers that are given a place, to another folder.

    Args:
        trainer: Options of the trainer; changed in place.
        folder: The new one.
    """
    old = Path(trainer.default_root_dir or ".")
    loggers = trainer.get("logger")
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        options: Any = logger.get("init_args") if isinstance(logger, Namespace) else None
        if options and options.get("save_dir"):
            place = Path(options.save_dir)
            inside = place.relative_to(old) if place.is_relative_to(old) else Path()
            options.save_dir = str(folder / inside)
    trainer.default_root_dir = str(folder)
