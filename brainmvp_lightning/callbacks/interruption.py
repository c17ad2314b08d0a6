"""Ends that are announced: save, and ask to be started again."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from brainmvp_lightning.callbacks.checkpoints import checkpoint_folder

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


class SaveOnSignal(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` after a signal, and ends with exit code 75.

    That is for schedulers that announce the end of a job's time, such as SLURM with
    ``--signal=USR1@300``. Lightning's own handler saves wherever a process happens to be, where
    others may be in the middle of exchanging gradients; here all processes end after the same step.
    They tell each other over CPUs while the next step runs, so nobody waits for a GPU, and it takes
    two steps at most. After the last step of an epoch it first lets the epoch end.

    Args:
        signal_name: The signal, such as ``SIGUSR1``; any process may get it.

    Raises:
        ValueError: If there is no such signal.
    """

    def __init__(self, signal_name: str = "SIGUSR1") -> None:
        if signal_name not in signal.Signals.__members__:
            raise ValueError(
                f"SaveOnSignal: there is no signal {signal_name!r}; use SIGUSR1 or SIGUSR2"
            )
        self.signal = signal.Signals[signal_name]
        self.is_asked = False
        self._earlier: Any = None
        self._group: dist.ProcessGroup | None = None
        self._asked_anywhere = torch.zeros(1, dtype=torch.int32)
        self._question: dist.Work | None = None
        self._is_due = False
        self._step = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, before Lightning does."""
        del pl_module
        self.is_asked = self._is_due = False
        self._asked_anywhere = torch.zeros(1, dtype=torch.int32)
        self._question = None
        self._earlier = signal.signal(self.signal, self._note)
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")

    def _note(self, *args: object) -> None:
        del args
        self.is_asked = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count steps from here."""
        del pl_module
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ANN401
        """Save and end if anybody was asked to.

        Raises:
            SystemExit: With code 75.
        """
        del args
        if trainer.global_step == self._step:  # in the middle of an accumulation of gradients
            return
        self._step = trainer.global_step
        self._is_due = self._is_agreed()
        # As for `LastCheckpoint`: Lightning counts wrongly from the last step of an epoch.
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._end_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save and end if that was due with the last step of the epoch.

        Raises:
            SystemExit: With code 75.
        """
        del pl_module
        self._end_if_due(trainer)

    def _end_if_due(self, trainer: pl.Trainer) -> None:
        if not self._is_due:
            return
        trainer.save_checkpoint(Path(checkpoint_folder(trainer)) / "last.ckpt")
        launcher = getattr(trainer.strategy, "launcher", None)
        is_child = isinstance(launcher, _SubprocessScriptLauncher) and trainer.local_rank > 0
        # Lightning kills the first process of a node if one that it has started fails.
        raise SystemExit(0 if is_child else TRY_AGAIN)

    def _is_agreed(self) -> bool:
        """Tell whether anybody had been asked a step ago, the same in all processes."""
        if self._group is None:
            return self.is_asked
        if self._question is not None:
            self._question.wait()
            self.is_asked = self.is_asked or bool(self._asked_anywhere)
        is_agreed = bool(self._asked_anywhere)
        self._asked_anywhere = torch.tensor([self.is_asked], dtype=torch.int32)
        self._question = dist.all_reduce(
            self._asked_anywhere, dist.ReduceOp.MAX, group=self._group, async_op=True
        )
        return is_agreed

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hear the last answer."""
        del trainer, pl_module
        if self._question is not None:
            self._question.wait()
            self._question = None

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Listen no longer."""
        del trainer, pl_module, stage
        if self._earlier is not None:
            signal.signal(self.signal, self._earlier)
            self._earlier = None
