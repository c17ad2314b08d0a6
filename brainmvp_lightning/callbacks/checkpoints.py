"""Checkpoints and the configuration, at fixed places in the run folder."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning.callbacks.run_facts import is_trial


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``checkpoints/last.ckpt`` in the run folder up to date, written atomically.

    ``--ckpt_path last`` continues from it, in the middle of an epoch too.

    Args:
        every_steps: Optimiser steps between two writes; ``None`` writes after each epoch.
    """

    def __init__(self, every_steps: int | None = None) -> None:
        super().__init__(
            filename="last",
            monitor=None,
            save_top_k=1,
            every_n_train_steps=every_steps,
            every_n_epochs=None if every_steps else 1,
            save_on_train_epoch_end=None if every_steps else True,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose the folder."""
        self._choose_folder(trainer)
        with warnings.catch_warnings():
            # A run folder that holds a checkpoint is what resuming is about.
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            super().setup(trainer, pl_module, stage)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ANN401
        """Save as often as asked for, but after the last step of an epoch with the epoch's end.

        From a checkpoint between the two Lightning goes on with wrong counts.
        """
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            super().on_train_batch_end(trainer, *args)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if the last step of the epoch is due; see `on_train_batch_end`."""
        every = self._every_n_train_steps
        if not every:
            super().on_train_epoch_end(trainer, pl_module)
        elif trainer.global_step % every == 0 and not self._should_skip_saving_checkpoint(trainer):
            candidates = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, candidates)
            self._save_last_checkpoint(trainer, candidates)

    def _find_last_checkpoints(self, trainer: pl.Trainer) -> set[str]:
        self._choose_folder(trainer)
        return super()._find_last_checkpoints(trainer)

    def _choose_folder(self, trainer: pl.Trainer) -> None:
        if self.dirpath is None:
            self.dirpath = checkpoint_folder(trainer)


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``checkpoints/best.ckpt`` in the run folder: the best validation so far.

    Args:
        monitor: Logged metric that decides; by default the task's own, such as ``val/dice``.
        mode: Whether ``"max"`` or ``"min"`` is best.
    """

    def __init__(self, monitor: str | None = None, mode: Literal["max", "min"] = "max") -> None:
        super().__init__(
            filename="best",
            monitor=monitor or "val/dice",
            mode=mode,
            save_top_k=1,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )
        self._is_chosen = monitor is not None
        self._is_foreign = False

    @property
    def state_key(self) -> str:
        """Return a key that does not depend on the metric, which is known late."""
        return "BestCheckpoint"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose the folder, and the metric of the task."""
        if not self._is_chosen:
            self.monitor = getattr(pl_module, "monitor", self.monitor)
        if self.dirpath is None:
            self.dirpath = checkpoint_folder(trainer)
        with warnings.catch_warnings():
            # A run folder that holds a checkpoint is what resuming is about.
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            super().setup(trainer, pl_module, stage)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """See whether the run goes on from a checkpoint of its own folder."""
        del pl_module, checkpoint
        self._is_foreign = not continues_here(trainer, str(self.dirpath))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score also where the run folder was moved or is spelled otherwise.

        The best score of a run in another folder stays there, where its checkpoint is.
        """
        if not self._is_foreign:
            super().load_state_dict({**state_dict, **_moved(state_dict, str(self.dirpath))})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rename the best checkpoint of an earlier run in this folder: it is not of this one."""
        super().on_train_start(trainer, pl_module)
        folder = str(self.dirpath)
        if not is_trial(trainer) and not continues_here(trainer, folder):
            _set_aside(Path(folder) / "best.ckpt")


def continues_here(trainer: pl.Trainer, *folders: str) -> bool:
    """Tell whether a run goes on from a checkpoint in its run folder, or in one of `folders`.

    Lightning knows the checkpoint once it has been loaded.
    """
    if not trainer.ckpt_path:
        return False
    checkpoint = Path(os.path.realpath(trainer.ckpt_path))
    places = (trainer.default_root_dir, *folders)
    return any(checkpoint.is_relative_to(os.path.realpath(place)) for place in places)


@rank_zero_only
def _set_aside(best: Path) -> None:
    """Rename a file to the first free name of ``best_of_earlier_run.ckpt``, ``..._2.ckpt``, ..."""
    if not best.exists():
        return
    free, number = best.with_name("best_of_earlier_run.ckpt"), 1
    while free.exists():
        number += 1
        free = best.with_name(f"best_of_earlier_run_{number}.ckpt")
    best.replace(free)


def checkpoint_folder(trainer: pl.Trainer) -> str:
    """Return the folder for checkpoints of a run, spelled in one way only."""
    return os.path.realpath(Path(trainer.default_root_dir) / "checkpoints")


def _moved(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the entries of a checkpoint callback's state that name files, with today's folder."""

    def here(path: str) -> str:
        return str(Path(folder) / Path(path).name) if path else path

    return {
        "dirpath": folder,
        "best_model_path": here(state["best_model_path"]),
        "last_model_path": here(state["last_model_path"]),
        "kth_best_model_path": here(state["kth_best_model_path"]),
        "best_k_models": {here(path): score for path, score in state["best_k_models"].items()},
    }


class SaveRunConfig(SaveConfigCallback):
    """Writes the resolved configuration to ``config.yaml`` in the run folder.

    A resumed or repeated run overwrites it; each start is also kept beside its log, as
    ``logs/version_<n>/config.yaml``. Other commands than ``fit`` leave it alone, because they take
    other options; theirs is ``config_test.yaml`` and the like. A trial with ``fast_dev_run`` writes
    nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed through
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the file; Lightning calls this on the first process only."""
        del pl_module
        if is_trial(trainer):
            return
        config = self.config.clone()
        # Who reads the file later says which checkpoint is meant.
        config["ckpt_path"] = None
        name = "config.yaml" if stage == "fit" else f"config_{getattr(stage, 'value', stage)}.yaml"
        folders = {Path(trainer.default_root_dir)}
        # Not trainer.log_dir: that asks all processes, and the others are not here.
        tables = [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
        folders.update(Path(table.log_dir) for table in tables[:1])
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            self.parser.save(
                config,
                folder / name,
                skip_none=False,
                overwrite=True,
                multifile=self.multifile,
            )
