"""Memory for batches that data workers and the training process share, used again and again.

Fresh shared memory costs more than decoding does: the system clears each page, and maps it in both
processes. Here a worker takes a slot whose semaphore it can acquire, and the slot is free again
when the training process, done with the voxels, releases it. Acquiring and releasing order the
accesses to memory, so nobody sees a slot half overwritten. A batch that is never used gives its
slot back when it is collected; where all are taken, a worker falls back on memory of its own. So no
one ever waits for a slot, not even for one held by a process that was killed.
"""

from __future__ import annotations

import math
import os
import shutil
import uuid
import warnings
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
import torch.multiprocessing
from torch import Tensor
from torch.utils.data import get_worker_info

DTYPE = torch.int16
BYTES = 2
SPARE_SLOTS = 2  # for the batch in use, and for one that a trainer has fetched ahead


class BatchPool:
    """Slots of shared memory; each worker has some of its own.

    Args:
        num_workers: Worker processes.
        ahead: Batches that each of them may have on the way.
        slot_size: Voxels of the largest batch.
    """

    def __init__(self, num_workers: int, ahead: int, slot_size: int) -> None:
        self.key = uuid.uuid4().hex
        self.slots_each = ahead + SPARE_SLOTS
        self.slot_size = slot_size
        num_slots = num_workers * self.slots_each
        self.memory = _shared(num_slots * slot_size)  # no page of it exists before it is used
        self.is_free = [torch.multiprocessing.BoundedSemaphore(1) for _ in range(num_slots)]
        _POOLS[self.key] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _POOLS[self.key] = self

    def take(self, worker: int, size: int) -> Slot | None:
        """Return a free slot of a worker, or None if there is none of that size.

        Args:
            worker: Number of the worker.
            size: Voxels wanted.
        """
        if size > self.slot_size:
            return None
        for slot in range(worker * self.slots_each, (worker + 1) * self.slots_each):
            if self.is_free[slot].acquire(block=False):
                return Slot(self, slot)
        return None


_POOLS: WeakValueDictionary[str, BatchPool] = WeakValueDictionary()


class Slot:
    """A slot that a worker has taken; sending it to the training process makes it a `Lease`."""

    def __init__(self, pool: BatchPool, number: int) -> None:
        self.pool = pool
        self.number = number

    def view(self, shape: tuple[int, ...]) -> Tensor:
        """Return the memory as a tensor of int16."""
        start = self.number * self.pool.slot_size
        return self.pool.memory[start : start + math.prod(shape)].view(shape)

    def end(self) -> None:
        """Let the slot be taken again; only once."""
        self.pool.is_free[self.number].release()

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return _receive, (self.pool.key, self.number)


class Lease(Slot):
    """The slot of a batch that has arrived; it ends with the batch at the latest."""

    def __init__(self, pool: BatchPool, number: int) -> None:
        super().__init__(pool, number)
        self.has_ended = False
        self.process = os.getpid()

    def end(self) -> None:
        """Let the slot be taken again; from then on nobody may look at it.

        A process that was forked from the holder has a copy of the lease, but no say.
        """
        if not self.has_ended and self.process == os.getpid():
            self.has_ended = True
            super().end()

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        raise TypeError("a slot has one holder; copy the batch, which copies its voxels")

    def __del__(self) -> None:
        self.end()


def _receive(key: str, number: int) -> Lease:
    return Lease(_POOLS[key], number)


def allocate(shape: tuple[int, ...], pool: BatchPool | None) -> tuple[Tensor, Slot | None]:
    """Return a tensor of int16 for a batch, and the slot it lies in, if any.

    Args:
        shape: Its shape.
        pool: Where a worker takes it from; the training process allocates ordinary memory.
    """
    worker = get_worker_info()
    if worker is None:
        return torch.empty(shape, dtype=DTYPE), None
    size = math.prod(shape)
    slot = pool.take(worker.id, size) if pool is not None else None
    if slot is None:
        return _shared(size).view(shape), None
    return slot.view(shape), slot


def warn_of_little_room(size: int, folder: Path = Path("/dev/shm")) -> None:
    """Warn if the shared memory of the system cannot hold what workers read ahead.

    Where it overflows the system ends a worker with a bus error; containers have 64 MB by default.

    Args:
        size: Voxels that may be on the way.
        folder: Where the system keeps shared memory.
    """
    if not folder.is_dir():
        return
    free, wanted = shutil.disk_usage(folder).free, size * BYTES
    if free < wanted:
        warnings.warn(
            f"the data workers may need {wanted / 1e6:.0f} MB of shared memory, {folder} has "
            f"{free / 1e6:.0f} MB free; start the container with "
            f"--shm-size={wanted // 10**9 + 1}g, or lower data.num_workers or data.batch_size",
            stacklevel=2,
        )


def _shared(size: int) -> Tensor:
    storage = torch.UntypedStorage._new_shared(BYTES * size)
    memory: Tensor = torch.empty(0, dtype=DTYPE)
    memory.set_(storage, 0, (size,))  # type: ignore[call-overload]
    return memory
