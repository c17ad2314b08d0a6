"""Lightning's counters, brought in step with the data."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loops.loop import _Loop

from brainmvp_lightning.datamodules.journey import Journey


def is_inside_step(trainer: pl.Trainer) -> bool:
    """Tell whether a training batch was taken whose step is not finished."""
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(total.ready) > int(total.processed)


def has_ended_epoch(trainer: pl.Trainer) -> bool:
    """Tell whether all batches of the epoch are done, of a limited one too."""
    current: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return int(current.processed) >= trainer.num_training_batches  # infinite before a training


def align(trainer: pl.Trainer, journey: Journey) -> None:
    """Let a resumed trainer count the batches of its epoch from where the data go on.

    Only needed, and called, at the start of a resumed training: with another batch size an epoch
    has another number of batches, and with ``max_steps`` Lightning would repeat an epoch that a
    checkpoint had ended, without any data.
    """
    loop = trainer.fit_loop
    total: Any = loop.epoch_loop.batch_progress.total
    # A checkpoint from inside a step left its batch ready for ever, which Lightning does not mend.
    total.ready = total.started = total.processed
    current: Any = loop.epoch_loop.batch_progress.current
    num_batches = int(trainer.num_training_batches)
    if journey.place == 0:
        if loop.restarted_on_epoch_end:
            loop.epoch_progress.increment_completed()
            loop.reset_restart_stage()
            _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]
        done = num_batches if current.ready else 0
    else:
        done = min(journey.batches_of_an_epoch() - journey.batches_left(), num_batches)
    current.ready = current.started = current.processed = done
    # Lightning itself completes a step whose checkpoint was written at its very end.
    current.completed = done - int(loop.epoch_loop.restarted_on_train_batch_end)
