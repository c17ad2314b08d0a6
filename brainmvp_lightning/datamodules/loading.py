"""A loader that knows where in an epoch it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

from brainmvp_lightning.datamodules.datasets import StudyCrops, VisitSample, collate
from brainmvp_lightning.datamodules.sampling import StudySampler


class CountedLoader(DataLoader[VisitSample]):
    """Loader whose state is the number of batches that training has used up.

    Counting what was *used*, not what was read ahead, makes a resumed run continue with the very
    batch that would have come next.

    Args:
        dataset: Reads the crops.
        sampler: Says which.
        batches_used: Returns the batches used since the start of training, and the batches of an
            epoch.
        num_workers: Processes that read ahead; 0 reads in the training process.
        pin_memory: Whether batches go to page-locked memory.
    """

    def __init__(
        self,
        dataset: StudyCrops,
        sampler: StudySampler,
        batches_used: Callable[[], tuple[int, int]],
        *,
        num_workers: int,
        pin_memory: bool,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=sampler,
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            prefetch_factor=4 if num_workers > 0 else None,
        )
        self.study_crops = dataset
        self.study_sampler = sampler
        self.batches_used = batches_used

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the training, in batches."""
        used, per_epoch = self.batches_used()
        return {
            "batches_used": used,
            "batches_per_epoch": per_epoch,
            "batches_in_data": len(self.study_sampler),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place in the training.

        Raises:
            ValueError: If an epoch had another number of batches then, so that the place is not
                defined.
        """
        now = len(self.study_sampler)
        if state["batches_in_data"] != now:
            raise ValueError(
                f"the checkpoint was made with {state['batches_in_data']} batches per epoch, this "
                f"run has {now}; resume with the same data, batch size and number of processes, or "
                "start anew"
            )
        self.study_sampler.start_at(*divmod(state["batches_used"], state["batches_per_epoch"]))
