"""Contract of a data module."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import lightning.pytorch as pl

from brainmvp_lightning.batches import DataDescription
from brainmvp_lightning.datamodules.journey import Journey
from brainmvp_lightning.datamodules.progress import align, has_ended_epoch, is_inside_step


class StudyDataModule(pl.LightningDataModule):
    """Streams studies; can say what they are before the first batch.

    Attributes:
        journey: Place in the training, saved in checkpoints.
    """

    def __init__(self) -> None:
        super().__init__()
        self.journey = Journey()

    @abstractmethod
    def describe(self) -> DataDescription:
        """Say what a method must know of the data.

        Raises:
            FileNotFoundError: If the data are not there.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the training."""
        if self.trainer is None:
            return {}
        return self.journey.state(
            inside_step=is_inside_step(self.trainer), epoch_ended=has_ended_epoch(self.trainer)
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a place in the training."""
        self.journey.restore(state_dict)

    def on_train_start(self) -> None:
        """Bring the trainer's counters in step with the data; tasks call it."""
        if self.trainer is not None and self.journey.was_restored:
            align(self.trainer, self.journey)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ANN401
        """Note that the training takes a batch."""
        del dataloader_idx
        if self.trainer is not None and self.trainer.training:
            self.journey.use_batch()
        return batch
