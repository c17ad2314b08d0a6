"""The most memory that a step needs, for the benchmark of a step."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from step_case import Case
from step_rivals import RIVALS, run_step


def peak_gib(name: str, case: Case, num_threads: int) -> float | None:
    """Return the peak memory of a rival in GiB, or None if a GPU does not hold it.

    On a CPU it is the resident memory of a process that does one step, with torch and all; on a GPU
    what torch has allocated in the second of two steps, with weights and moments.

    Args:
        name: Rival, one of `RIVALS`.
        case: How it runs.
        num_threads: Threads of that process.
    """
    if case.device == "cuda":
        return _allocated(name, case)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_resident, name, case, num_threads).result()


def _allocated(name: str, case: Case) -> float | None:
    free_memory()  # of what has run before
    peak = None
    try:
        rival = RIVALS[name](case)
        run_step(rival)
        torch.cuda.reset_peak_memory_stats()
        run_step(rival)
        peak = torch.cuda.max_memory_allocated() / 2**30
    except torch.OutOfMemoryError:
        print(f"the device does not hold a step of {name} at batch {case.batch}")
    rival = None  # type: ignore[assignment]
    free_memory()
    return peak


def free_memory() -> None:
    """Give back what rivals held that nobody names any more.

    A task and its trainer name each other, so that only the collector finds them.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _resident(name: str, case: Case, num_threads: int) -> float:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_num_threads(num_threads)
    run_step(RIVALS[name](case))
    # Unlike what getrusage says, this does not start from the peak of the parent process.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    if peak is None:
        raise OSError("/proc/self/status names no VmHWM, the peak memory of a process")
    return int(peak[1]) / 2**20
