"""How far a trainer is, as the loaders see it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl


class TrainerProgress:
    """Counts the batches of a trainer, and moves its counter when a run resumes in other steps.

    Args:
        data: Data module that the trainer uses.
    """

    def __init__(self, data: pl.LightningDataModule) -> None:
        self._data = data

    @property
    def _trainer(self) -> pl.Trainer:
        assert self._data.trainer is not None  # a loader's state is only asked for by a trainer
        return self._data.trainer

    @property
    def _batches(self) -> Any:  # noqa: ANN401 - Lightning's counter is no public type
        return self._trainer.fit_loop.epoch_loop.batch_progress

    def used(self) -> int:
        """Return the number of batches used since the start of training."""
        return int(self._batches.total.ready)

    def per_epoch(self) -> int:
        """Return the number of batches of an epoch."""
        return int(self._trainer.num_training_batches)

    def move_to(self, steps_done: int, num_batches: int) -> None:
        """Let the trainer's present epoch go on after `steps_done` of `num_batches` batches.

        A checkpoint from the end of an epoch stays at the end of it.
        """
        current = self._batches.current
        if steps_done == 0 and current.ready > 0:
            steps_done = self._limited(num_batches)
        shift = steps_done - current.ready
        for counter in ("ready", "started", "processed", "completed"):
            setattr(current, counter, getattr(current, counter) + shift)

    def _limited(self, num_batches: int) -> int:
        limit = self._trainer.limit_train_batches
        if isinstance(limit, int):
            return min(num_batches, limit)
        return num_batches if limit is None else int(num_batches * limit)
