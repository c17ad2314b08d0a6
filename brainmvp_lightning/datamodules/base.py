"""Contract of a data module."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from brainmvp_lightning.batches import DataDescription
from brainmvp_lightning.datamodules.journey import Journey
from brainmvp_lightning.datamodules.progress import align, has_ended_epoch, is_inside_step
from brainmvp_lightning.datamodules.reading import Reading, ReadingOptions, plan_reading
from brainmvp_lightning.datamodules.sampling import StudySampler


class StudyDataModule(pl.LightningDataModule):
    """Streams studies; can say what they are before the first batch.

    Attributes:
        journey: Place in the training, saved in checkpoints.
    """

    def __init__(self) -> None:
        super().__init__()
        self.journey = Journey()
        self._has_told = False

    @abstractmethod
    def describe(self) -> DataDescription:
        """Say what a method must know of the data.

        Raises:
            FileNotFoundError: If the data are not there.
        """

    def reading(
        self,
        options: ReadingOptions,
        sampler: StudySampler,
        batch_bytes: int,
        *,
        to_device: bool,
    ) -> Reading:
        """Choose how a loader reads; what was chosen for the training is said once.

        Args:
            options: What a user has set.
            sampler: Of the loader.
            batch_bytes: Shared memory of one of its batches.
            to_device: Whether batches may be copied to a GPU ahead of their step.
        """
        chosen = plan_reading(options, self.trainer, batch_bytes, len(sampler), to_device=to_device)
        is_training = self.trainer is not None and sampler.purpose == "train"
        if is_training and options.num_workers == "auto" and not self._has_told:
            self._has_told = True
            rank_zero_info(f"data: {chosen}")
        return chosen

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
