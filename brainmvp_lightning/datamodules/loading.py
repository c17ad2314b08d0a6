"""A loader that knows where in an epoch it is."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from brainmvp_lightning.datamodules.datasets import as_batch
from brainmvp_lightning.datamodules.sampling import StudySampler

WORKER_KILLED = (
    "a data worker was killed by the system, most likely for lack of memory; lower "
    "data.num_workers or data.batch_size, and go on with --ckpt_path last"
)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 2**28


def keep_freed_memory(worker: int) -> None:
    """Let a data worker use freed memory again instead of handing it to the system.

    A visit reads and decodes some megabytes, of which the system would clear each page anew. Does
    nothing where the C library has no such setting.

    Args:
        worker: Number of the worker; all are treated alike.
    """
    del worker
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class WorkerKilledError(RuntimeError):
    """A process that reads data is gone; the run can go on from its last checkpoint."""


class Progress(Protocol):
    """What a loader must know of the training it serves."""

    def used(self) -> int:
        """Return the number of batches used since the start of training."""

    def per_epoch(self) -> int:
        """Return the number of batches of an epoch."""

    def move_to(self, steps_done: int, num_batches: int) -> None:
        """Let the present epoch go on after `steps_done` of `num_batches` batches."""


@dataclass(frozen=True)
class _Anchor:
    """A place that is known, from which used batches are counted."""

    epoch: int = 0
    place: int = 0
    steps_done: int = 0
    batches_used: int = 0


class CountedLoader(DataLoader[Any]):
    """Loader whose state is the number of visits that training has used up.

    Counting what was *used*, not what was read ahead, makes a resumed run continue with the very
    batch that would have come next.

    Args:
        dataset: Reads the crops.
        sampler: Says which.
        progress: Tells how far training is.
        num_workers: Processes that read ahead; 0 reads in the training process.
        pin_memory: Whether batches go to page-locked memory.
        collate_fn: Puts the samples of a step into a batch.
        keep_workers: Whether the processes stay after an epoch, for the next one.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: StudySampler,
        progress: Progress,
        *,
        num_workers: int,
        pin_memory: bool,
        collate_fn: Callable[[Any], Any] = as_batch,
        keep_workers: bool = True,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=sampler,
            num_workers=num_workers,
            collate_fn=collate_fn,
            pin_memory=pin_memory,
            persistent_workers=keep_workers and num_workers > 0,
            prefetch_factor=4 if num_workers > 0 else None,
            worker_init_fn=keep_freed_memory,
        )
        self.study_crops: Any = dataset
        self.study_sampler = sampler
        self.progress = progress
        self._anchor = _Anchor()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield batches; say so if the system killed a worker.

        Raises:
            WorkerKilledError: If a worker process is gone.
        """
        if self.num_workers > 0 and hasattr(self.study_crops, "share_memory"):
            ahead = self.prefetch_factor or 1
            self.study_crops.share_memory(self.study_sampler.batch_size, self.num_workers, ahead)
        batches = super().__iter__()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                workers = getattr(batches, "_workers", ())
                if all(worker.is_alive() for worker in workers):
                    raise
                raise WorkerKilledError(WORKER_KILLED) from error
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the training: the epoch, and how many of its visits are used up."""
        epoch, place = self._position()
        places = self.study_sampler.num_places
        return {"epoch": epoch, "place": place, "places": places, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place in the training; batch size and number of ranks may be others than then.

        Raises:
            ValueError: If an epoch had another number of visits then, so that the place is not
                defined.
        """
        sampler, epoch, place = self.study_sampler, state["epoch"], state["place"]
        if state["places"] != sampler.num_places:
            raise ValueError(
                f"the checkpoint was made with {state['places']} visits per epoch, this run has "
                f"{sampler.num_places}; resume with the same studies and visits, or start anew"
            )
        sampler.start_at(epoch, place)
        steps_done = len(sampler) - -(-(sampler.num_places - place) // self._step)
        self._anchor = _Anchor(epoch, place, steps_done, self.progress.used())
        if state["step"] != self._step:
            warnings.warn(
                f"the checkpoint was made with {state['step']} studies per step, this run takes "
                f"{self._step}: it goes on after visit {place} of epoch {epoch}, but the schedule "
                "of the learning rate counts steps, of which an epoch now has another number",
                stacklevel=2,
            )
            self.progress.move_to(steps_done, len(sampler))

    @property
    def _step(self) -> int:
        return self.study_sampler.places_per_step

    def _position(self) -> tuple[int, int]:
        anchor, per_epoch = self._anchor, self.progress.per_epoch()
        used = self.progress.used() - anchor.batches_used
        left = per_epoch - anchor.steps_done  # in the epoch of the anchor
        if used < left:
            return anchor.epoch, anchor.place + used * self._step
        epochs, steps = divmod(used - left, per_epoch)
        return anchor.epoch + 1 + epochs, steps * self._step
