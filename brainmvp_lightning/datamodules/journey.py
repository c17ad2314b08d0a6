"""Where in its training a data module is."""

from __future__ import annotations

import warnings
from typing import Any

from brainmvp_lightning.datamodules.sampling import StudySampler


class ResumeError(ValueError):
    """A checkpoint whose place in the training is not defined for the data of this run."""


class Journey:
    """The epoch of a training, and how many of its visits are used up.

    Trainers count batches, and do not always restore these counts; so the place is counted here, in
    visits, with each batch that the training uses. It is saved with the data module, which is
    always restored, and holds for any batch size and number of processes.

    Attributes:
        epoch: Epoch of the data.
        place: Visits of the epoch that are used up, over all ranks.
        was_restored: The place comes from a checkpoint.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.place = 0
        self.was_restored = False
        self._before = (0, 0)
        self._has_moved = False
        self._saved: dict[str, Any] = {}
        self._sampler: StudySampler | None = None
        self._accumulation = 1

    def lead(self, sampler: StudySampler, accumulation: int = 1) -> None:
        """Let a training sampler start here, and follow it from now on.

        Args:
            sampler: Of the training.
            accumulation: Batches between two steps of the optimiser.

        Raises:
            ResumeError: If the checkpoint was made with another number of visits in an epoch.
        """
        self._accumulation = accumulation
        if self._saved:
            self._check(sampler)
        self._sampler = sampler
        sampler.journey = self
        sampler.start_at(self.epoch, self.place)

    def use_batch(self) -> None:
        """Note that the training has taken a batch."""
        assert self._sampler is not None
        self._before = (self.epoch, self.place)
        self._has_moved = True
        self.place += self._sampler.places_per_step
        if self.place >= self._sampler.num_places:
            self.epoch, self.place = self.epoch + 1, 0

    def begin_epoch(self) -> None:
        """Go to the next epoch if the present one was left before its end."""
        if self.place and self._has_moved:
            self.epoch, self.place = self.epoch + 1, 0
        self._has_moved = False

    def state(self, *, inside_step: bool, epoch_ended: bool) -> dict[str, Any]:
        """Return plain values.

        Args:
            inside_step: The last batch that was taken does not count, its step is not finished.
            epoch_ended: The trainer goes on with the next epoch, whatever is left of this one.
        """
        if self._sampler is None:
            return {}
        epoch, place = self._before if inside_step else (self.epoch, self.place)
        if epoch_ended and place:
            epoch, place = epoch + 1, 0
        sampler = self._sampler
        facts = {"places": sampler.num_places, "step": sampler.places_per_step}
        return {"epoch": epoch, "place": place, **facts, "accumulation": self._accumulation}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to the place that `state` returned."""
        if state:
            self.epoch, self.place = state["epoch"], state["place"]
            self.was_restored = True
            self._saved = state

    def batches_left(self) -> int:
        """Return the batches that the data of the present epoch still give."""
        assert self._sampler is not None
        return -(-(self._sampler.num_places - self.place) // self._sampler.places_per_step)

    def batches_of_an_epoch(self) -> int:
        """Return the batches that the data of a whole epoch give."""
        assert self._sampler is not None
        return len(self._sampler)

    def _check(self, sampler: StudySampler) -> None:
        saved, self._saved = self._saved, {}
        if saved["places"] != sampler.num_places:
            raise ResumeError(
                f"the checkpoint was made with {saved['places']} visits per epoch, this run has "
                f"{sampler.num_places}; resume with the same studies and visits, or start anew"
            )
        before = saved["step"] * saved.get("accumulation", 1)
        now = sampler.places_per_step * self._accumulation
        if before != now:  # smaller batches, more of them for a step, are the same schedule
            warnings.warn(
                f"the checkpoint was made with {before} studies per step, this run takes "
                f"{now}: it goes on after visit {self.place} of epoch "
                f"{self.epoch}, but the schedule of the learning rate counts steps, of which an "
                "epoch now has another number",
                stacklevel=3,
            )
