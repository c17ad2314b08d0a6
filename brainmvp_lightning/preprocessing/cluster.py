"""Work spread over the machines of a Dask cluster; all of them see the same folders."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from brainmvp_lightning.preprocessing.executors import AHEAD, Job, Killer, Results
from brainmvp_lightning.preprocessing.preparation import Prepared
from brainmvp_lightning.preprocessing.recipe import PIPELINE_VERSION
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.errors import CacheError

CONNECT_S = 30


def spread_over_cluster(studies: Sequence[Study], job: Job, scheduler: str) -> Results:
    """Do a job on every study on the workers of a cluster; results come back to this process.

    Workers need their nannies (the default), which start them anew when they die.

    Args:
        studies: What to do.
        job: Done for each; paths in it must be absolute.
        scheduler: Address such as ``tcp://host:8786``, or the JSON file that
            ``dask scheduler --scheduler-file`` writes.

    Raises:
        CacheError: If there is no scheduler or worker, or a worker does not see the files or runs
            another version.
        MissingToolError: If dask.distributed is not installed.
    """
    if not studies:
        return
    with _connect(scheduler) as client:
        retries: list[Study] = []
        yield from _flow(client, deque(studies), retries, job)
        for study in retries:
            guilty: list[Study] = []
            yield from _flow(client, deque([study]), guilty, job)
            for culprit in guilty:
                yield culprit, Killer.of(culprit)


def absolute(study: Study) -> Study:
    """Return the study with absolute paths: workers have working directories of their own."""
    scans = tuple(
        replace(
            scan,
            path=scan.path.absolute(),
            label=scan.label and scan.label.absolute(),
            brain_mask=scan.brain_mask and scan.brain_mask.absolute(),
        )
        for scan in study.scans
    )
    return replace(study, scans=scans, label=study.label and study.label.absolute())


def _flow(client: Any, queue: deque[Study], dead: list[Study], job: Job) -> Results:  # noqa: ANN401 - not typed
    import distributed

    futures: dict[Any, Study] = {}
    completed = distributed.as_completed()
    try:
        while queue or futures:
            room = AHEAD * max(1, sum(client.nthreads().values())) - len(futures)
            for _ in range(min(room, len(queue))):
                study = queue.popleft()
                future = client.submit(
                    _do, study, _present(study), PIPELINE_VERSION, job, pure=False
                )
                futures[future] = study
                completed.add(future)
            future = next(completed)
            study = futures.pop(future)
            try:
                prepared = future.result()
            except distributed.KilledWorker:
                dead.append(study)
                continue
            yield study, prepared
    finally:
        client.cancel(list(futures))


def _present(study: Study) -> list[str]:
    paths = [scan.path for scan in study.scans]
    return [str(path) for path in paths if path.exists()]


def _do(study: Study, present: list[str], version: int, job: Job) -> Prepared:
    where = f"the worker on {socket.gethostname()}"
    if version != PIPELINE_VERSION:
        raise CacheError(f"{where} runs another version of this program; install the same one")
    for path in present:
        if not Path(path).exists() and not Path(path).parent.exists():
            raise CacheError(
                f"{where} does not see {path}; use folders that all machines of the cluster share"
            )
    return job(study)


@contextmanager
def _connect(scheduler: str) -> Iterator[Any]:
    try:
        import distributed
    except ImportError as error:
        raise MissingToolError(
            "--scheduler needs a package: pip install 'brainmvp-lightning[cluster]'"
        ) from error
    file = {"scheduler_file": scheduler} if scheduler.endswith(".json") else {"address": scheduler}
    try:
        client = distributed.Client(**file, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise CacheError(
            f"no scheduler answers at {scheduler} ({error or type(error).__name__}); start one "
            "with 'dask scheduler', and workers with 'dask worker ADDRESS'"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            raise CacheError(
                f"scheduler {scheduler} has no workers; start some with 'dask worker {scheduler}'"
            ) from error
        try:
            yield client
        except (distributed.CancelledError, distributed.comm.CommClosedError) as error:
            raise CacheError(
                "the connection to the scheduler was lost; run the same command again, it goes on "
                "after the studies that are finished"
            ) from error
