"""A loader that knows where in an epoch it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from brainmvp_lightning.datamodules.datasets import as_batch
from brainmvp_lightning.datamodules.prefetch import prefetch, streams_of
from brainmvp_lightning.datamodules.reading import Reading
from brainmvp_lightning.datamodules.sampling import StudySampler
from brainmvp_lightning.preprocessing.memory import keep_freed_memory

WORKER_KILLED = (
    "a data worker was killed by the system, most likely for lack of memory; lower "
    "data.num_workers or data.batch_size, and go on with --ckpt_path last"
)


class WorkerKilledError(RuntimeError):
    """A process that reads data is gone; the run can go on from its last checkpoint."""


class CountedLoader(DataLoader[Any]):
    """Loader of batches that a `StudySampler` asks for.

    Args:
        dataset: Reads the crops.
        sampler: Says which.
        reading: By how many processes, how far ahead, and up to which memory.
        collate_fn: Puts the samples of a step into a batch.
        keep_workers: Whether the processes stay after an epoch, for the next one.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: StudySampler,
        reading: Reading,
        *,
        collate_fn: Callable[[Any], Any] = as_batch,
        keep_workers: bool = True,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=sampler,
            num_workers=reading.num_workers,
            collate_fn=collate_fn,
            pin_memory=reading.pin_memory,
            persistent_workers=keep_workers and reading.num_workers > 0,
            prefetch_factor=reading.ahead if reading.num_workers > 0 else None,
            worker_init_fn=_prepare_worker,
        )
        self.study_crops: Any = dataset
        self.study_sampler = sampler
        self.reading = reading

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield batches; say so if the system killed a worker.

        Nothing is read before the first batch is asked for: by then the trainer has announced the
        epoch.

        Raises:
            WorkerKilledError: If a worker process is gone.
        """
        device = self.reading.device
        if device is None:
            return self._read()
        return prefetch(self._read(), device, streams_of(device))

    def _read(self) -> Iterator[Any]:
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
        """Return nothing: the data module saves the place, see `Journey`.

        Lightning takes a loader that has this method for one that can go on inside an epoch.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing; see `state_dict`."""


def _prepare_worker(number: int) -> None:
    del number
    keep_freed_memory()
