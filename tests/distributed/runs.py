"""Short trainings that differ in their strategy only."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, Strategy

from brainmvp_lightning.callbacks.checkpoints import LastCheckpoint
from brainmvp_lightning.datamodules.base import StudyDataModule
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.pretrain import PretrainTask
from brainmvp_lightning.tasks.sharding import FullySharded
from tests.training import TEMPLATES, LossRecord, small_task


def strategy(name: str, **options: Any) -> Strategy:
    """Return a strategy over gloo."""
    if name == "ddp":
        return DDPStrategy(process_group_backend="gloo", **options)
    return FullySharded(process_group_backend="gloo")


def task(**method: Any) -> PretrainTask:
    """A small task with a constant learning rate, so that runs of any length begin alike."""
    made = small_task(**{"templates": replace(TEMPLATES, update="dense"), **method})
    made.optimizer_options = AdamWOptions(learning_rate=1e-3, final_fraction=1.0)
    return made


def two_ranks(
    folder: Path,
    name: str,
    *callbacks: Callback,
    strategy_options: dict[str, Any] | None = None,
    **options: Any,
) -> pl.Trainer:
    """A quiet trainer for two processes, which writes a checkpoint after every step."""
    defaults = {"max_steps": 3, "limit_val_batches": 0}
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=2,
        strategy=strategy(name, **(strategy_options or {})),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        callbacks=[LastCheckpoint(every_steps=1), *callbacks],
        **{**defaults, **options},
    )


def fit(
    made: Task,
    data: StudyDataModule,
    folder: Path,
    name: str,
    *callbacks: Callback,
    ckpt_path: Path | None = None,
    **options: Any,
) -> dict[int, float]:
    """Train on two processes; return the loss of each step of this one."""
    record = LossRecord()
    trainer = two_ranks(folder, name, record, *callbacks, **options)
    if ckpt_path is not None:
        made.resumes = True
    trainer.fit(made, data, ckpt_path=ckpt_path and str(ckpt_path))
    return record.losses


def last(folder: Path) -> Path:
    """Return the last checkpoint of a run."""
    return folder / "checkpoints" / "last.ckpt"


def saved(folder: Path) -> dict[str, Any]:
    """Return the content of the last checkpoint of a run."""
    content: dict[str, Any] = torch.load(last(folder), weights_only=True, map_location="cpu")
    return content
