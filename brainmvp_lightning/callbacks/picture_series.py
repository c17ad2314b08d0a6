"""Pictures of a run: not too often, not too many, and to all who take them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from brainmvp_lightning.callbacks.run_facts import is_trial

_NUMBER = re.compile(r"_(\d+)\.png$")


class PictureSeries(Callback):
    """Writes pictures of one kind to ``pictures/`` in the run folder, and to loggers.

    Args:
        every_epochs: Epochs between two pictures; the last validation is always drawn.
        every_seconds: Least time between two pictures.
        max_files: Most files of the kind; older ones are thinned evenly, the first and the newest
            stay.

    Raises:
        ValueError: If one of them is too small.
    """

    kind: ClassVar[str]
    """First word of the names of the files."""

    def __init__(
        self, every_epochs: int = 1, every_seconds: float = 30.0, max_files: int = 50
    ) -> None:
        if every_epochs < 1 or every_seconds < 0 or max_files < 2:
            raise ValueError(
                f"{type(self).__name__} has every_epochs {every_epochs}, every_seconds "
                f"{every_seconds} and max_files {max_files}; they must be at least 1, 0 and 2"
            )
        self.every_epochs = every_epochs
        self.every_seconds = every_seconds
        self.max_files = max_files
        self._drawn_at = -float("inf")

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Tell whether the validation that runs or has just ended is one to draw."""
        if trainer.sanity_checking or is_trial(trainer) or not trainer.is_global_zero:
            return False
        if trainer.state.fn != TrainerFn.FITTING or is_last(trainer):
            return True
        is_epoch = (trainer.current_epoch + 1) % self.every_epochs == 0
        return is_epoch and time.monotonic() - self._drawn_at >= self.every_seconds

    def publish(
        self, trainer: pl.Trainer, draw: Callable[[Path], None], word: str | None = None
    ) -> None:
        """Draw, thin the older files, and hand the picture to loggers.

        Args:
            trainer: Of the run.
            draw: Writes the picture to a file.
            word: End of the name of the file; by default the epoch, outside of a training the name
                of the command.
        """
        folder = Path(trainer.default_root_dir) / "pictures"
        command = trainer.state.fn or TrainerFn.FITTING
        if word is None and command != TrainerFn.FITTING:
            word = command.value
        path = folder / f"{self.kind}_{word or f'{trainer.current_epoch + 1:04d}'}.png"
        draw(path)
        self._drawn_at = time.monotonic()
        thin(sorted(folder.glob(f"{self.kind}_*.png")), self.max_files)
        send_picture(trainer, f"pictures/{self.kind}", path)


def is_last(trainer: pl.Trainer) -> bool:
    """Tell whether a validation is the last one of the training as it was planned."""
    max_epochs, max_steps = trainer.max_epochs or 0, trainer.max_steps
    validated = max_epochs - max_epochs % (trainer.check_val_every_n_epoch or 1)
    by_epochs = 0 < validated <= trainer.current_epoch + 1 and _is_last_of_epoch(trainer)
    return by_epochs or 0 < max_steps <= trainer.global_step


def _is_last_of_epoch(trainer: pl.Trainer) -> bool:
    progress = trainer.fit_loop.epoch_loop.batch_progress
    every = trainer.val_check_batch or 0  # nothing where validations come by the clock
    following = progress.current.ready + every
    return progress.is_last_batch or following > trainer.num_training_batches


def thin(files: Sequence[Path], limit: int) -> None:
    """Remove numbered files until `limit` are left, evenly spaced; the first and the last stay."""
    numbers = {path: int(found[1]) for path in files if (found := _NUMBER.search(path.name))}
    kept = sorted(numbers, key=numbers.__getitem__)
    while len(kept) > limit:
        gaps = [numbers[kept[n + 1]] - numbers[kept[n - 1]] for n in range(1, len(kept) - 1)]
        kept.pop(1 + gaps.index(min(gaps))).unlink(missing_ok=True)


def send_picture(trainer: pl.Trainer, name: str, path: Path) -> None:
    """Hand a PNG to each logger of the trainer that takes images."""
    from matplotlib.image import imread

    loggers: list[Any] = trainer.loggers
    for logger in loggers:
        if hasattr(logger, "log_image"):  # wandb
            logger.log_image(name, [str(path)], step=trainer.global_step)
        elif hasattr(getattr(logger, "experiment", None), "add_image"):  # TensorBoard
            pixels = imread(path)[..., :3]
            logger.experiment.add_image(name, pixels, trainer.global_step, dataformats="HWC")
