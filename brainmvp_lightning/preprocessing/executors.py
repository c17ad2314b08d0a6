"""How work is spread: within this process, over processes, or over the machines of a cluster.

A study that kills its worker is tried once more, on its own; if it kills another worker it is set
aside, and the others go on.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

from brainmvp_lightning.preprocessing.faults import Passing
from brainmvp_lightning.preprocessing.preparation import Prepared
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.errors import CacheError

Job = Callable[[Study], Prepared]
Results = Iterator[tuple[Study, Prepared]]

AHEAD = 2  # studies handed out per process; few, so that few are suspect when one dies


def spread_over_processes(studies: Sequence[Study], job: Job, workers: int) -> Results:
    """Do a job on every study and return the results as they come.

    Args:
        studies: What to do.
        job: Done for each; with several workers it must be possible to pickle it.
        workers: Processes; with one, it is this one, and nothing survives its death.

    Raises:
        CacheError: If no worker can be started.
        Exception: Whatever `job` raises; it ends the work.
    """
    if workers <= 1:
        yield from ((study, job(study)) for study in studies)
        return
    workers = min(workers, len(studies))
    queue = deque(studies)
    while queue:
        suspects: list[Study] = []
        yield from _until_a_worker_dies(queue, suspects, job, workers)
        is_anyone_guilty = False
        for study, prepared in _one_by_one(suspects, job):
            is_anyone_guilty |= prepared is None
            yield study, prepared or Killer.of(study)
        if suspects and not is_anyone_guilty:  # each fits into memory, but not all at once
            workers = max(1, workers // 2)


@dataclass(frozen=True)
class Killer(Passing):
    """The result of a study that ended two workers."""

    @classmethod
    def of(cls, study: Study) -> Killer:
        """Return it with its sentence."""
        reason = "preparing it ended a worker process twice, most likely for lack of memory"
        remedy = "run the same command again with fewer workers or more memory, or leave it out"
        return cls(None, (Problem(study.id, str(study.scans[0].path), reason, remedy),))


def _until_a_worker_dies(
    queue: deque[Study], suspects: list[Study], job: Job, workers: int
) -> Results:
    pool = start_pool(workers)
    futures: dict[Future[Prepared], Study] = {}
    try:
        while queue or futures:
            while queue and len(futures) < AHEAD * workers:
                futures[pool.submit(job, queue[0])] = queue[0]
                queue.popleft()
            done, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=_has_failed):
                prepared = future.result()
                yield futures.pop(future), prepared
    except BrokenProcessPool:
        suspects += futures.values()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _has_failed(future: Future[Prepared]) -> bool:
    return future.exception() is not None


def _one_by_one(suspects: Sequence[Study], job: Job) -> Iterator[tuple[Study, Prepared | None]]:
    """Do the job on one study at a time, in another process; None for those that kill it."""
    pool: ProcessPoolExecutor | None = None
    try:
        for study in suspects:
            pool = pool or _start_one()
            try:
                prepared = pool.submit(job, study).result()
            except BrokenProcessPool:
                pool.shutdown()
                pool, prepared = None, None
            yield study, prepared
    finally:
        if pool is not None:
            pool.shutdown()


def _start_one() -> ProcessPoolExecutor:
    pool = start_pool(1)
    try:
        pool.submit(_answer).result()
    except BrokenProcessPool as error:
        pool.shutdown()
        raise CacheError(
            "worker processes cannot start; use --workers 1, and in a script of your own put the "
            "call under 'if __name__ == \"__main__\":'"
        ) from error
    return pool


def start_pool(workers: int) -> ProcessPoolExecutor:
    """Return worker processes that end when this process is killed."""
    # Spawn, not fork: progress bars run threads, and a forked lock stays locked for ever.
    return ProcessPoolExecutor(workers, get_context("spawn"), _leave_with_parent)


def _answer() -> None:
    """Show that a worker has started."""


def _leave_with_parent() -> None:
    """End a worker whose parent was killed; otherwise it would wait for work for ever."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
