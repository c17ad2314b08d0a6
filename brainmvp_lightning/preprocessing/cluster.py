"""Work spread over the machines of a Dask cluster; all of them see the same folders."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from brainmvp_lightning.preprocessing.executors import AHEAD, Job, Killer, Results
from brainmvp_lightning.preprocessing.inputs import files_of
from brainmvp_lightning.preprocessing.preparation import Prepared
from brainmvp_lightning.preprocessing.recipe import PIPELINE_VERSION, Recipe
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.errors import CacheError

CONNECT_S = 30
CHECK_S = 10.0  # between looks at whether there are workers at all
LONELY_S = 300.0  # without any worker; batch systems may take minutes to start others


class UnseenFileError(CacheError):
    """A worker does not see a file.

    Args:
        where: The worker.
        file: What it does not see.
    """

    def __init__(self, where: str, file: str) -> None:
        super().__init__(where, file)  # all that pickling needs
        self.where = where
        self.file = file

    def __str__(self) -> str:
        shared = "use folders that all machines of the cluster share"
        return f"{self.where} does not see {self.file}; {shared}"


def spread_over_cluster(
    studies: Sequence[Study], job: Job, scheduler: str, recipe: Recipe | None = None
) -> Results:
    """Do a job on every study on the workers of a cluster; results come back to this process.

    Workers need their nannies (the default), which start them anew when they die.

    Args:
        studies: What to do.
        job: Done for each; paths in it must be absolute.
        scheduler: Address such as ``tcp://host:8786``, or the JSON file that
            ``dask scheduler --scheduler-file`` writes.
        recipe: Says which files the workers must see; the usual one if it is not given.

    Raises:
        CacheError: If there is no scheduler, or no worker for some minutes, or a worker does not
            see the files or runs another version.
        MissingToolError: If dask.distributed is not installed.
    """
    if not studies:
        return
    recipe = recipe or Recipe()
    with _connect(scheduler) as client:
        retries: list[Study] = []
        yield from _flow(client, deque(studies), retries, job, recipe)
        for study in retries:
            guilty: list[Study] = []
            yield from _flow(client, deque([study]), guilty, job, recipe)
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


def _flow(
    client: Any,  # noqa: ANN401 - not typed
    queue: deque[Study],
    dead: list[Study],
    job: Job,
    recipe: Recipe,
) -> Results:
    import distributed

    futures: dict[Any, Study] = {}
    try:
        while queue or futures:
            room = AHEAD * max(1, sum(client.nthreads().values())) - len(futures)
            for _ in range(min(room, len(queue))):
                study = queue.popleft()
                task = _do, study, _present(study, recipe), PIPELINE_VERSION, job
                futures[client.submit(*task, pure=False)] = study
            for future in _wait_for_any(client, futures):
                try:
                    prepared = future.result(CHECK_S)
                except TimeoutError:  # its worker went away with the result; it is done anew
                    continue
                except distributed.KilledWorker:
                    dead.append(futures.pop(future))
                except UnseenFileError as error:
                    _raise_if_there(error)
                    queue.append(futures.pop(future))
                else:
                    yield futures.pop(future), prepared
    finally:
        client.cancel(list(futures))


def _raise_if_there(error: UnseenFileError) -> None:
    """Raise the error unless the file has just vanished for everybody."""
    if Path(error.file).exists():
        raise error


def _wait_for_any(client: Any, futures: Collection[Any]) -> list[Any]:  # noqa: ANN401 - not typed
    """Return the futures that are done, at least one; give up if all workers stay away."""
    import distributed

    last_seen = time.monotonic()
    while True:
        try:
            return list(distributed.wait(list(futures), CHECK_S, "FIRST_COMPLETED").done)
        except TimeoutError as error:
            if client.nthreads():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > LONELY_S:
                raise CacheError(
                    f"all workers have been gone for {LONELY_S:g} s; start some and run the same "
                    "command again, it goes on after the studies that are finished"
                ) from error


def _present(study: Study, recipe: Recipe) -> list[str]:
    paths = [*files_of(study, recipe).values()]
    if recipe.template is not None:
        paths.append(Path(recipe.template))
    return [str(path) for path in paths if path.exists()]


def _do(study: Study, present: list[str], version: int, job: Job) -> Prepared:
    where = f"the worker on {socket.gethostname()}"
    if version != PIPELINE_VERSION:
        raise CacheError(f"{where} runs another version of this program; install the same one")
    for path in present:
        if not Path(path).exists():
            raise UnseenFileError(where, path)
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
