"""Contract of a data module."""

from __future__ import annotations

from abc import abstractmethod

import lightning.pytorch as pl

from brainmvp_lightning.batches import DataDescription


class StudyDataModule(pl.LightningDataModule):
    """Streams studies; can say what they are before the first batch."""

    @abstractmethod
    def describe(self) -> DataDescription:
        """Say what a method must know of the data.

        Raises:
            FileNotFoundError: If the data are not there.
        """
