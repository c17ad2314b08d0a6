"""Median times of rival ways to do one thing, taken in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def median_ms(
    rivals: Mapping[str, Callable[[], object]],
    *,
    num_rounds: int,
    device: str,
    num_warmups: int = 1,
    prepare: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, float]:
    """Return the median time of each rival in milliseconds.

    Rivals run in turns, so that other work on the machine meets all alike; the first round is not
    counted. On a CPU it is the time of the processor, which other work hardly lengthens; on a GPU
    that of the clock.

    Args:
        rivals: What to run, by name.
        num_rounds: Rounds that count.
        device: Where it runs; a GPU is waited for.
        num_warmups: Rounds before them that do not.
        prepare: What to run before each turn of a rival, without counting its time.
    """
    now = time.perf_counter if device == "cuda" else time.process_time
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(num_warmups + num_rounds):
        for name, run in rivals.items():
            if prepare is not None:
                prepare[name]()
            _wait_for(device)
            start = now()
            run()
            _wait_for(device)
            times[name].append(1e3 * (now() - start))
    return {name: statistics.median(taken[num_warmups:]) for name, taken in times.items()}


def print_table(header: tuple[str, ...], rows: list[tuple[str | int | float, ...]]) -> None:
    """Print rows of names, counts and times as a Markdown table."""
    print(f"| {' | '.join(header)} |")
    print(f"|{'---|' * len(header)}")
    for row in rows:
        cells = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |")


def describe(device: str) -> str:
    """Return what the times were taken on."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return f"torch {torch.__version__}, {name}, {torch.get_num_threads()} CPU thread(s)"


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
