"""Progress for people: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only


def progress_bar() -> ProgressBar:
    """Return a rich bar where standard output is a terminal, else one line an epoch."""
    return RichProgressBar() if sys.stdout.isatty() else EpochLines()


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
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs or 0
        seconds = (time.monotonic() - self._started) / (epoch - self._first_epoch)
        metrics = trainer.callback_metrics
        shown = [
            f"{k} {float(metrics[k]):.4f}" for k in ("train/total", "val/total") if k in metrics
        ]
        left = f"{seconds * (last - epoch):.0f} s left" if last > 0 else ""
        sys.stdout.write(
            f"epoch {epoch}/{last}  {'  '.join(shown)}  {seconds:.1f} s/epoch  {left}\n"
        )
        sys.stdout.flush()
