"""Progress for people: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only

_SHOWN = ("train/total", "val/total", "val/dice", "val/auc")


def progress_bar() -> ProgressBar:
    """Return a rich bar where standard output is a terminal, else one line an epoch."""
    return TrainingBar() if sys.stdout.isatty() else EpochLines()


class TrainingBar(RichProgressBar):
    """A bar whose losses are read from the device as often as they are logged.

    Each reading waits for all that the device has been asked to do.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, Any] = {}

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return what the bar shows."""
        known: Any = trainer
        is_due = trainer.global_step % max(1, known.log_every_n_steps) == 0
        if is_due or not trainer.training or not self._shown:
            self._shown = super().get_metrics(trainer, pl_module)
        return self._shown


class EpochLines(ProgressBar):
    """Prints one line after each epoch: losses, time a step, time left."""

    def __init__(self) -> None:
        super().__init__()
        self._is_enabled = True
        self._started = 0.0
        self._first_epoch = 0

    def enable(self) -> None:
        """Let lines be printed."""
        self._is_enabled = True

    def disable(self) -> None:
        """Print nothing."""
        self._is_enabled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._started = time.monotonic()
        self._first_epoch = trainer.current_epoch

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        del pl_module
        if not self._is_enabled:
            return
        epoch = trainer.current_epoch + 1
        seconds = (time.monotonic() - self._started) / (epoch - self._first_epoch)
        metrics = trainer.callback_metrics
        shown = [f"{name} {float(metrics[name]):.4f}" for name in _SHOWN if name in metrics]
        whole, left = _planned(trainer, epoch)
        seconds_left = f"{seconds * left:.0f} s left" if left is not None else ""
        sys.stdout.write(
            f"epoch {epoch}{whole}  {'  '.join(shown)}  {seconds:.1f} s/epoch  {seconds_left}\n"
        )
        sys.stdout.flush()


def _planned(trainer: pl.Trainer, epoch: int) -> tuple[str, float | None]:
    """Return the length of the run for a line, and the epochs that are left, if that is known."""
    if trainer.max_steps > 0:
        per_epoch = trainer.global_step / max(1, epoch)
        left = max(0.0, (trainer.max_steps - trainer.global_step) / max(1.0, per_epoch))
        return f" (step {trainer.global_step}/{trainer.max_steps})", left
    if (trainer.max_epochs or 0) > 0:
        return f"/{trainer.max_epochs}", float((trainer.max_epochs or 0) - epoch)
    return "", None
