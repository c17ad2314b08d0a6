"""A step of pre-training on several processes, and what that would be on 8 to 512 GPUs.

Each process does the real step on a batch that stays where it is: views, network, loss, backward
pass with the exchange of gradients, optimiser. As in training, the contrast collects the embeddings
of all processes, and all know how many rows a batch can have. Measured are steps per second and the
processor's time; counted are the bytes that a process hands over in a step, in the calls that do
so. Templates are run in both ways: ``dense`` averages whole gradients, ``windowed`` exchanges those
of the crops.

The table of more GPUs is arithmetic: the time of a step on one process, the bytes, and the link
rates that are printed with it. Gradients are taken to be sent while the backward pass goes on, but
for the last bucket; embeddings before it, and templates after it. On a CPU the times say nothing of
GPUs: processes share cores, and gloo copies; only the bytes are the same.

Run: python benchmarks/scaling.py [--processes 1 2 4] [--step-ms 30] [--node nvlink4] [--net ndr]
"""

import argparse
import logging
import math
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from recording import record
from step_case import Case
from step_rivals import Ours
from timing import describe, print_table
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.futures import Future
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from brainmvp_lightning.losses.gathering import ALL_GATHER
from brainmvp_lightning.tasks.reduction import BUFFERS

# Gbit/s of one GPU in one direction, as the makers give them.
LINKS = {"nvlink4": 3600.0, "nvlink3": 2400.0, "ndr": 400.0, "hdr": 200.0, "ethernet": 12.5}
GPUS = (8, 16, 32, 64, 128, 256, 512)
GPUS_OF_NODE = 8
BACKWARD = 2 / 3  # of a step's time; two products for each of the forward pass


@dataclass
class Sent:
    """Bytes that a process hands over in a step.

    Attributes:
        buckets: Of each bucket of gradients, in the order of sending.
        windows: Of gradients of template crops.
        contrast: Of embeddings, in the forward pass.
    """

    buckets: list[int]
    windows: int = 0
    contrast: int = 0


@dataclass(frozen=True)
class Links:
    """What is assumed of the connections.

    Attributes:
        node_gbps: Gbit/s of one GPU to its node.
        net_gbps: Gbit/s of one GPU to other nodes.
        share: Part of these that an exchange reaches.
        latency_us: Microseconds of an exchange for each doubling of the number of GPUs.
    """

    node_gbps: float
    net_gbps: float
    share: float
    latency_us: float

    def seconds(self, num_bytes: float, num_gpus: int) -> float:
        """Return the time in which a GPU moves some bytes over its slowest link."""
        gbps = self.node_gbps if num_gpus <= GPUS_OF_NODE else self.net_gbps
        latency = 1e-6 * self.latency_us * math.ceil(math.log2(num_gpus))
        return 8e-9 * num_bytes / (gbps * self.share) + latency


def exposed_seconds(sent: Sent, step_s: float, num_gpus: int, links: Links) -> float:
    """Return the time of a step in which GPUs wait for an exchange.

    Averages go round in a ring, which moves ``2 (n - 1) / n`` of the bytes over each link; windows
    and embeddings are collected from all, ``n - 1`` times those of one.
    """
    ring = 2 * (num_gpus - 1) / num_gpus
    times = [links.seconds(ring * num_bytes, num_gpus) for num_bytes in sent.buckets]
    hidden = sum(times[:-1])
    late = max(0.0, hidden - BACKWARD * step_s) + (times[-1] if times else 0.0)
    for num_bytes in filter(None, (sent.windows, sent.contrast)):
        late += links.seconds(num_bytes * (num_gpus - 1), num_gpus)
    return late


class Step(nn.Module):
    """The computation of a step as one module, for DDP to wrap."""

    def __init__(self, ours: Ours) -> None:
        super().__init__()
        self.ours = (ours,)  # not a child, whose parameters would be here twice
        self.backbone, self.method = ours.task.backbone, ours.task.method
        if ours.task.by_windows:
            ignored = ["method.templates.values"]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, ignored)

    def forward(self) -> Tensor:
        """Return the loss."""
        terms = self.ours[0].forward()
        return torch.stack(list(terms.values())).sum()


class Counter:
    """Counts what is handed over, and hands it over.

    DDP looks at the annotations of `average`, which therefore must be no strings in this module.
    """

    def __init__(self) -> None:
        self.sent = Sent([])
        self.is_updating = False
        """Whether the optimiser steps, which collects windows; before, the contrast collects."""

    def average(self, state: None, bucket: GradBucket) -> Future[Tensor]:
        """Average a bucket of gradients, as DDP does."""
        self.sent.buckets.append(bucket.buffer().nbytes)
        return default_hooks.allreduce_hook(state, bucket)  # type: ignore[arg-type]

    @contextmanager
    def watch_collecting(self) -> Iterator[None]:
        """Count what is collected from all processes."""
        collect = getattr(dist, ALL_GATHER)

        def counted(every: Tensor, own: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if self.is_updating:
                self.sent.windows += own.nbytes
            else:
                self.sent.contrast += own.nbytes
            return collect(every, own, *args, **kwargs)

        vars(dist)[ALL_GATHER] = counted
        try:
            yield
        finally:
            vars(dist)[ALL_GATHER] = collect


def main() -> None:
    """Measure, work out, print and record."""
    options = _options()
    links = Links(
        options.link_gbps or LINKS[options.node],
        options.link_gbps or LINKS[options.net],
        options.link_share,
        options.latency_us,
    )
    rows: list[dict[str, Any]] = []
    for update in options.updates:
        for num in options.processes:
            case = _case(options, update)
            rows.append({"kind": "measured", **measure(case, num, options.steps)})
    print(f"\n{describe(options.device)}, {options.network}, crops of {options.size}^3")
    if options.device == "cpu":
        print("Times of processes that share CPU cores: they say nothing of GPUs; bytes do.")
    names = (
        "update",
        "processes",
        "steps_per_s",
        "cpu_s_per_step",
        "buckets",
        "sent_mb",
        "contrast_mb",
    )
    print_table(names, [tuple(row[name] for name in names) for row in rows])
    predicted: list[dict[str, Any]] = []
    if options.device == "cuda" or options.step_ms:
        predicted = predict(rows, options, links)
    else:
        print("Give the time of a step on a GPU with --step-ms to have more GPUs worked out.")
    _record(rows + predicted, options, links)


def predict(
    rows: list[dict[str, Any]], options: argparse.Namespace, links: Links
) -> list[dict[str, Any]]:
    """Work out and print more GPUs from what was measured and counted."""
    alone = {row["update"]: row for row in rows if row["processes"] == 1}
    many = {row["update"]: row for row in rows if row["processes"] > 1}
    predicted = []
    for update in [update for update in many if update in alone]:
        step_s = 1e-3 * options.step_ms if options.step_ms else 1 / alone[update]["steps_per_s"]
        sent = Sent(*(many[update][f"{part}_bytes"] for part in ("bucket", "window", "contrast")))
        for num in GPUS:
            late = exposed_seconds(sent, step_s, num, links)
            predicted.append(
                {
                    "kind": "worked out",
                    "update": update,
                    "gpus": num,
                    "step_ms": 1e3 * (step_s + late),
                    "waiting_ms": 1e3 * late,
                    "efficiency": step_s / (step_s + late),
                    "studies_per_s": num * options.batch / (step_s + late),
                }
            )
    source = "given" if options.step_ms else f"measured on {options.device}"
    print(f"\nWorked out, not measured; step of one process {source}. {asdict(links)}")
    names = ("update", "gpus", "step_ms", "waiting_ms", "efficiency", "studies_per_s")
    print_table(names, [tuple(row[name] for name in names) for row in predicted])
    return predicted


def measure(case: Case, num_processes: int, num_steps: int) -> dict[str, Any]:
    """Run the step on some processes, and return what was measured and counted."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        arguments = (num_processes, port, case, num_steps, folder)
        spawn(run_process, arguments, nprocs=num_processes)
        results = [
            torch.load(Path(folder) / f"{rank}.pt", weights_only=True)
            for rank in range(num_processes)
        ]
    buckets, windows, contrast = (results[0][part] for part in ("buckets", "windows", "contrast"))
    return {
        "update": case.update,
        "processes": num_processes,
        "steps_per_s": 1 / max(result["wall_s"] for result in results),
        "cpu_s_per_step": sum(result["cpu_s"] for result in results) / num_processes,
        "buckets": len(buckets),
        "sent_mb": (sum(buckets) + windows + contrast) / 1e6,
        "contrast_mb": contrast / 1e6,
        "bucket_bytes": buckets,
        "window_bytes": windows,
        "contrast_bytes": contrast,
    }


def run_process(
    rank: int, num_processes: int, port: int, case: Case, num_steps: int, folder: str
) -> None:
    """Do the steps of one process, and write what it measured and counted to a file."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    if case.device == "cuda":
        torch.cuda.set_device(rank)
    ours = Ours(case, gather=True)  # before there are other processes, which it would wait for
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    backend = "nccl" if case.device == "cuda" else "gloo"
    dist.init_process_group(backend, rank=rank, world_size=num_processes)
    module: nn.Module = Step(ours)
    counter = Counter()
    if num_processes > 1:
        options: dict[str, Any] = {"gradient_as_bucket_view": True, BUFFERS: False}
        ddp = DistributedDataParallel(module, **options)
        ddp.register_comm_hook(None, counter.average)
        module = ddp
    with counter.watch_collecting():
        for _ in range(2):  # DDP sorts its buckets anew after the first step
            _run(ours, module, counter)
        counter.sent = Sent([])
        start, cpu = _now(case.device), time.process_time()
        for _ in range(num_steps):
            _run(ours, module, counter)
        wall_s, cpu_s = _now(case.device) - start, time.process_time() - cpu
    num = len(counter.sent.buckets) // num_steps
    result = {
        "wall_s": wall_s / num_steps,
        "cpu_s": cpu_s / num_steps,
        "buckets": counter.sent.buckets[:num],
        "windows": counter.sent.windows // num_steps,
        "contrast": counter.sent.contrast // num_steps,
    }
    torch.save(result, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def _run(ours: Ours, module: nn.Module, counter: Counter) -> None:
    counter.is_updating = False
    ours.optimizer.zero_grad()
    module().backward()
    counter.is_updating = True
    ours.optimizer.step()


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _case(options: argparse.Namespace, update: Any) -> Case:  # noqa: ANN401 - one of two words
    x, y, z = options.shape
    precision: Any = options.precision
    return Case(
        network=options.network,
        batch=options.batch,
        size=options.size,
        shape=(x, y, z),
        rescale="raw",
        update=update,
        precision=precision,
        device=options.device,
    )


def _record(rows: list[dict[str, Any]], options: argparse.Namespace, links: Links) -> None:
    if options.no_record:
        return
    words = ["python benchmarks/scaling.py"]
    for name, value in vars(options).items():
        if value is not None and name != "no_record":
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(f"--{name.replace('_', '-')} {text}")
    facts = {
        "links": asdict(links),
        "note": "'worked out' is arithmetic; times of processes on a CPU say nothing of GPUs",
    }
    record("scaling", " ".join(words), rows, device=options.device, **facts)


def _options() -> argparse.Namespace:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if on_gpu else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--updates", nargs="+", default=["dense", "windowed"])
    parser.add_argument("--steps", type=int, default=20 if on_gpu else 3)
    parser.add_argument("--network", default="uniformer_small" if on_gpu else "uniformer_tiny")
    parser.add_argument("--precision", default="bf16" if on_gpu else "fp32")
    parser.add_argument("--batch", type=int, default=3 if on_gpu else 1)
    parser.add_argument("--size", type=int, default=96 if on_gpu else 32)
    shape = [240, 240, 155] if on_gpu else [40, 40, 40]
    parser.add_argument("--shape", type=int, nargs=3, default=shape)
    parser.add_argument("--step-ms", type=float, help="time of a step on one GPU, if known")
    parser.add_argument("--node", default="nvlink4", choices=LINKS, help="link inside a node")
    parser.add_argument("--net", default="ndr", choices=LINKS, help="link between nodes")
    parser.add_argument("--link-gbps", type=float, help="Gbit/s of one GPU, in place of both")
    parser.add_argument("--link-share", type=float, default=0.8)
    parser.add_argument("--latency-us", type=float, default=10.0)
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    if options.device == "cuda":
        most = torch.cuda.device_count()
        options.processes = [num for num in options.processes if num <= most]
    return options


if __name__ == "__main__":
    main()
