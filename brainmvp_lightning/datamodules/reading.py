"""How batches are read ahead: by how many processes, how far, and up to which memory."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import torch

from brainmvp_lightning.datamodules.cores import (
    cores_of_process,
    processes_of_node,
)
from brainmvp_lightning.datamodules.sharing import SPARE_SLOTS

NumWorkers = int | Literal["auto"]

MOST_WORKERS = 8
"""A core reads some 90 pre-training crops of 96^3 a second and a GPU takes about as many; the rest
is for channels that are resized, and for slow disks."""


@dataclass(frozen=True)
class ReadingOptions:
    """What a user may set.

    Attributes:
        num_workers: Processes that read ahead, for each training process; ``"auto"`` chooses.
        prefetch_factor: Batches that each of them reads ahead.
        prefetch_to_device: Whether the next batch is copied to a GPU while a step runs.

    Raises:
        ValueError: If one of them is out of range.
    """

    num_workers: NumWorkers = "auto"
    prefetch_factor: int = 4
    prefetch_to_device: bool = True

    def __post_init__(self) -> None:
        number = self.num_workers
        if number != "auto" and (not isinstance(number, int) or number < 0):
            raise ValueError(f"data.num_workers is {number!r}; use auto, or a number from 0 on")
        if self.prefetch_factor < 1:
            raise ValueError(f"data.prefetch_factor is {self.prefetch_factor}; use 1 or more")


@dataclass(frozen=True)
class Reading:
    """How the batches of a loader are read.

    Attributes:
        num_workers: Processes that read ahead; 0 reads in the training process.
        ahead: Batches that each of them reads ahead.
        pin_memory: Whether batches go to page-locked memory.
        device: The GPU that the next batch is copied to while a step runs; None copies none ahead.
        cores: Cores that this training process may use.
    """

    num_workers: int
    ahead: int = 4
    pin_memory: bool = False
    device: torch.device | None = None
    cores: int = 1

    def __str__(self) -> str:
        if self.num_workers:
            parts = [f"{_count(self.num_workers, 'worker')} of {_count(self.cores, 'core')}"]
            parts.append(f"{_count(self.ahead, 'batch', 'batches')} ahead")
        else:
            parts = [f"read by the training process, {_count(self.cores, 'core')}"]
        parts += ["pinned"] if self.pin_memory else []
        parts += [f"next one copied to {self.device}"] if self.device is not None else []
        return ", ".join(parts)


def plan_reading(
    options: ReadingOptions,
    trainer: pl.Trainer | None,
    batch_bytes: int,
    num_batches: int,
    *,
    to_device: bool,
) -> Reading:
    """Choose how to read; batches are the same whatever is chosen.

    Args:
        options: What a user has set.
        trainer: Knows the device and the processes of this machine.
        batch_bytes: Shared memory of a batch.
        num_batches: Batches of an epoch; more workers have nothing to do.
        to_device: Whether these batches may be copied ahead at all.
    """
    device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
    on_gpu = device.type == "cuda"
    cores = cores_of_process(trainer)
    if options.num_workers == "auto":
        workers = choose_workers(cores, computes_elsewhere=device.type != "cpu")
        processes = processes_of_node(trainer, os.environ)
        room = room_for_batches(batch_bytes, processes)
        fitting = room // (options.prefetch_factor + SPARE_SLOTS)
        number = min(workers, num_batches, max(1, fitting))
    else:
        number = options.num_workers
    return Reading(
        number,
        options.prefetch_factor,
        pin_memory=on_gpu,
        device=device if on_gpu and to_device and options.prefetch_to_device else None,
        cores=cores,
    )


def choose_workers(cores: int, *, computes_elsewhere: bool) -> int:
    """Return the processes that read ahead for one training process.

    Args:
        cores: Cores of the training process and its workers.
        computes_elsewhere: Whether steps run on a GPU. Where they run on these cores a step takes
            far longer than reading its batch, so that one worker is enough; with one core there is
            nothing to gain from it.
    """
    if computes_elsewhere:
        return min(max(1, cores - 1), MOST_WORKERS)
    return 1 if cores > 1 else 0


def room_for_batches(batch_bytes: int, num_processes: int, folder: Path = Path("/dev/shm")) -> int:
    """Return how many batches a loader may keep in the shared memory of the system.

    Half of what is free is for training, the other half for validation and for others.

    Args:
        batch_bytes: Size of a batch.
        num_processes: Training processes of this machine.
        folder: Where the system keeps shared memory.
    """
    if not folder.is_dir():  # a system that keeps it elsewhere, without such a limit
        return sys.maxsize
    return shutil.disk_usage(folder).free // 2 // max(1, num_processes * batch_bytes)


def _count(number: int, name: str, names: str | None = None) -> str:
    return f"{number} {name if number == 1 else names or name + 's'}"
