"""What the processes of an experiment share: threads and GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

THREADS = "OMP_NUM_THREADS"
GPUS = "CUDA_VISIBLE_DEVICES"


def job_environment(
    environment: Mapping[str, str], slot: int, jobs: int, cores: int, gpus: Sequence[str]
) -> dict[str, str]:
    """Return the environment of one of several processes that run at once.

    Threads are divided; with more than one job each gets one GPU, in turn. A single job keeps them
    all.

    Args:
        environment: That of the experiment; its own limits are kept to.
        slot: Which of the jobs, from 0.
        jobs: How many run at once.
        cores: Cores of the machine that may be used.
        gpus: Names of the GPUs that may be used.
    """
    limit = environment.get(THREADS, "").split(",")[0]
    threads = int(limit) if limit.isdecimal() and int(limit) else cores
    changed = {**environment, THREADS: str(max(1, threads // jobs))}
    if jobs > 1 and gpus:
        changed[GPUS] = gpus[slot % len(gpus)]
    return changed


def job_cores(slot: int, jobs: int, cores: Sequence[int]) -> list[int]:
    """Return the cores of one of several processes that run at once; all if there are too few.

    A training counts the cores that it may run on, and reads ahead with as many processes.

    Args:
        slot: Which of the jobs, from 0.
        jobs: How many run at once.
        cores: Numbers of the cores that may be used.
    """
    share = len(cores) // jobs
    return list(cores[slot * share : (slot + 1) * share]) if share else list(cores)


def core_numbers() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(core_numbers())


def usable_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """Return the GPUs that the environment allows, or else all that there are.

    Args:
        environment: May hold ``CUDA_VISIBLE_DEVICES``; an empty value allows none.
        devices: Where the system lists its devices.
    """
    if GPUS in environment:
        names = [name.strip() for name in environment[GPUS].split(",")]
        return [name for name in names if name and name != "-1"]
    numbers = [path.name.removeprefix("nvidia") for path in devices.glob("nvidia*")]
    return [str(number) for number in sorted(int(name) for name in numbers if name.isdecimal())]
