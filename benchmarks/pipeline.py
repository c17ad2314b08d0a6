"""Steps of pre-training with batches from the loader, against the same steps on one batch.

The network, the method and the optimiser are those of training; batches come from a cache that
`brainmvp prepare` made, by the data module's own loader, workers and copies to the device. Both
sides run in turns in one process. What the workers read ahead during the other side's turn is
thrown away before a turn begins, so that nothing comes for free. The share of waiting is the time
in which the training process does nothing but ask for the next batch, copies included.

On a GPU the goal is a ratio of at least 0.95 with two cores (``taskset -c 0,1``). On a CPU steps
and workers take turns on the same cores, so that the ratio of the clock also holds what reading
costs; there the processor time of both is what can be compared.

Run: python benchmarks/pipeline.py [--device cuda --network uniformer_small --size 96 --batch 3]
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from recording import record
from step_case import Case
from step_rivals import Ours, run_step
from timing import describe, print_table

from brainmvp_lightning.batches import StudyBatch
from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.datamodules.loading import CountedLoader
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.methods.templates import PUBLISHED_MODALITIES
from brainmvp_lightning.volumes.cache import Cache

GOAL = 0.95
UNTIMED = 2  # steps at the start of a turn
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Turn:
    """What a turn took.

    Attributes:
        seconds: Of the clock.
        waiting: Of these, asking for batches.
        training_cpu: Processor seconds of the training process.
        workers_cpu: Processor seconds of the data workers.
    """

    seconds: float
    waiting: float
    training_cpu: float
    workers_cpu: float


class Feed:
    """Batches of the loader as a training gets them.

    Args:
        data: Of the run, with a trainer.
    """

    def __init__(self, data: PretrainDataModule, device: str) -> None:
        self.data = data
        self.device = torch.device(device)
        self.loader: CountedLoader = data.train_dataloader()
        self.batches: Iterator[Any] = iter(self.loader)

    def next(self) -> StudyBatch:
        """Return the next batch on the device; epochs follow each other."""
        try:
            batch = next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        moved = self.data.transfer_batch_to_device(batch, self.device, 0)
        unpacked: StudyBatch = self.data.on_after_batch_transfer(moved, 0)
        return unpacked

    def empty(self) -> None:
        """Throw away what was read ahead."""
        reading = self.loader.reading
        is_copied = reading.device is not None
        for _ in range(reading.num_workers * reading.ahead + is_copied):
            self.next()

    def workers_cpu(self) -> float:
        """Return the processor seconds of the workers so far."""
        workers = getattr(getattr(self.loader, "_iterator", None), "_workers", ())
        return sum(_cpu_seconds(worker.pid) for worker in workers)


def main() -> None:
    """Measure both sides, print and record."""
    options = _options()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    if options.device == "cuda":
        torch.set_float32_matmul_precision("high")
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or make_cache(Path(folder), options)
        ours, feed = set_up(cache, options)
        alone = loader_alone(feed, options)
        turns = take_turns(ours, feed, options)
        report(turns, alone, feed, cache, options)
        del feed


def make_cache(folder: Path, options: argparse.Namespace) -> str:
    """Make and prepare synthetic studies, and return the folder of their cache."""
    source = {
        "root": str(folder / "data"),
        "num_studies": options.studies,
        "spacing_mm": options.spacing,
        "workers": 1,
    }
    content = {
        "source": {"class_path": "synthetic", "init_args": source},
        "cache": str(folder / "cache"),
        "recipe": {"spacing_mm": options.spacing},
        "workers": 1,
    }
    config = folder / "prepare.yaml"
    config.write_text(yaml.safe_dump(content))
    if prepare(["--config", str(config)]) != 0:
        raise SystemExit("the synthetic cohort could not be prepared; see above")
    return str(folder / "cache")


def set_up(cache: str, options: argparse.Namespace) -> tuple[Ours, Feed]:
    """Return the step, and what feeds it."""
    opened = Cache.open(cache)
    if len(opened.modalities) > len(PUBLISHED_MODALITIES):
        raise SystemExit(
            f"cache {cache} has {len(opened.modalities)} modalities, the step of this benchmark "
            f"has templates for {len(PUBLISHED_MODALITIES)}; give another one with --cache"
        )
    shapes = opened.studies.column("shape").max(axis=0)
    case = Case(
        network=options.network,
        batch=options.batch,
        size=options.size,
        shape=tuple(max(int(side), options.size) for side in shapes),
        rescale="raw",
        precision=options.precision,
        compile=options.compile,
        device=options.device,
    )
    ours = Ours(case)
    data = PretrainDataModule(
        cache,
        crop_size=(options.size,) * 3,
        batch_size=options.batch,
        num_workers=options.workers if options.workers == "auto" else int(options.workers),
        prefetch_factor=options.ahead,
        prefetch_to_device=not options.no_prefetch,
        visits_per_epoch=1000,
        min_modalities=2,  # or steps with fewer partners would be shorter than others
    )
    data.trainer = ours.task.trainer
    return ours, Feed(data, options.device)


def loader_alone(feed: Feed, options: argparse.Namespace) -> dict[str, float]:
    """Return the samples that the loader gives when nothing else runs."""
    feed.empty()
    num_batches = max(options.steps, 20)
    turn = _take(feed.next, lambda _: None, num_batches, feed, options.device)
    samples = num_batches * options.batch
    cpu = turn.training_cpu + turn.workers_cpu
    return {
        "samples_per_s": round(samples / turn.seconds, 1),
        "samples_per_cpu_s": round(samples / cpu, 1),
    }


def take_turns(ours: Ours, feed: Feed, options: argparse.Namespace) -> dict[str, list[Turn]]:
    """Run the sides in turns; the first round is not counted."""
    turns: dict[str, list[Turn]] = {"resident batch": [], "loader": []}
    resident = feed.next()

    def step(batch: StudyBatch) -> None:
        ours.batch = batch
        run_step(ours)

    for number in range(1 + options.rounds):
        num_steps = options.steps if number else UNTIMED
        for name, taken in turns.items():
            if name == "loader":
                feed.empty()
                source: Callable[[], StudyBatch] = feed.next
            else:
                source = lambda: resident  # noqa: E731
            for _ in range(UNTIMED):
                step(source())
            turn = _take(source, step, num_steps, feed, options.device)
            if number:
                taken.append(turn)
    return turns


def _take(
    source: Callable[[], StudyBatch],
    step: Callable[[StudyBatch], None],
    num_steps: int,
    feed: Feed,
    device: str,
) -> Turn:
    _wait_for(device)
    waiting, workers, cpu = 0.0, feed.workers_cpu(), time.process_time()
    start = time.perf_counter()
    for _ in range(num_steps):
        asked = time.perf_counter()
        batch = source()
        waiting += time.perf_counter() - asked
        step(batch)
    _wait_for(device)
    seconds = time.perf_counter() - start
    return Turn(seconds, waiting, time.process_time() - cpu, feed.workers_cpu() - workers)


def report(
    turns: dict[str, list[Turn]],
    alone: dict[str, float],
    feed: Feed,
    cache: str,
    options: argparse.Namespace,
) -> None:
    """Print and record medians over the turns."""
    rows: list[dict[str, str | int | float]] = []
    for name, taken in turns.items():
        rows.append(
            {
                "name": name,
                "steps_per_s": _median(options.steps / turn.seconds for turn in taken),
                "waiting_share": _median(turn.waiting / turn.seconds for turn in taken),
                "training_cpu_s_per_step": _median(t.training_cpu / options.steps for t in taken),
                "workers_cpu_s_per_step": _median(t.workers_cpu / options.steps for t in taken),
            }
        )
    pairs = list(zip(turns["resident batch"], turns["loader"], strict=True))
    ratio = _median(resident.seconds / fed.seconds for resident, fed in pairs)
    cpu_ratio = _median(_cpu(resident) / _cpu(fed) for resident, fed in pairs)
    reading = feed.loader.reading
    print(f"\n{describe(options.device)}; data: {reading}")
    header = ("batches from", "steps/s", "waiting", "CPU-s a step", "of workers")
    print_table(header, [tuple(row.values()) for row in rows])
    print(f"\nloader / resident batch: {ratio:.3f} of the clock, {cpu_ratio:.3f} of CPU-seconds")
    print(f"loader alone: {alone['samples_per_s']} samples/s, {alone['samples_per_cpu_s']} a CPU-s")
    note = (
        f"goal: at least {GOAL} of the clock with 2 cores for a GPU; usable cores here: "
        f"{reading.cores}"
    )
    if options.device == "cpu":
        note = "steps and workers share the cores: compare CPU-seconds, not the clock"
    print(note)
    if options.no_record:
        return
    record(
        "pipeline" if options.device == "cpu" else f"pipeline_{options.device}",
        f"python benchmarks/pipeline.py {options.command}".strip(),
        rows,
        ratio=ratio,
        cpu_ratio=cpu_ratio,
        loader_alone=alone,
        note=note,
        reading=str(reading),
        usable_cores=reading.cores,
        measured_on=describe(options.device),
        network=options.network,
        size=options.size,
        batch=options.batch,
        precision=options.precision,
        compile=options.compile,
        steps=options.steps,
        rounds=options.rounds,
        studies=len(Cache.open(cache).studies),
        spacing_mm=Cache.open(cache).spacing_mm,
    )


def _cpu(turn: Turn) -> float:
    return turn.training_cpu + turn.workers_cpu


def _median(values: Iterator[float]) -> float:
    return round(statistics.median(values), 4)


def _cpu_seconds(process: int) -> float:
    """Return the processor seconds of a running process, as the system counts them."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--network", default="uniformer_tiny")
    add("--size", type=int, default=48, help="edge of a crop in voxels")
    add("--batch", type=int, default=4, help="studies of a step")
    add("--precision", default="fp32", choices=["fp32", "bf16"])
    add("--compile", action="store_true")
    add("--workers", default="auto", help="auto, or a number")
    add("--ahead", type=int, default=4, help="batches that each worker reads ahead")
    add("--no-prefetch", action="store_true", help="copy to the GPU when a step asks")
    add("--steps", type=int, default=50, help="steps of a turn")
    add("--rounds", type=int, default=3, help="turns of each side")
    add("--cache", help="of brainmvp prepare; by default one is made")
    add("--studies", type=int, default=4, help="of the synthetic cohort")
    add("--spacing", type=float, default=2.0, help="of the synthetic cohort, mm")
    add("--threads", type=int, default=1, help="of torch")
    add("--no-record", action="store_true")
    options = parser.parse_args()
    given = {n: v for n, v in vars(options).items() if v != parser.get_default(n)}
    given.pop("no_record", None)
    flags = (f"--{n.replace('_', '-')}" + ("" if v is True else f" {v}") for n, v in given.items())
    options.command = " ".join(flags)
    return options


if __name__ == "__main__":
    main()
