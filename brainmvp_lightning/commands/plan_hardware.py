"""What a plan is for: the machine at hand, or one that is named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from brainmvp_lightning.commands.plan_memory import GIB

EFFICIENCY = 0.4
"""Share of a data sheet's rates that a step is assumed to reach; a guess, not a measurement."""


@dataclass(frozen=True)
class Rates:
    """Rates of a data sheet.

    Attributes:
        name: Whose they are.
        half: Products of matrices in bfloat16, without sparsity, operations per second.
        single: The same in TF32, which training in 32 bits uses.
        bandwidth: Bytes of memory per second.
    """

    name: str
    half: float
    single: float
    bandwidth: float


# By gigabytes of memory on the data sheet. Source: NVIDIA's data sheets of these cards.
DATA_SHEETS = {
    24: Rates("A10", 125e12, 62.5e12, 0.6e12),
    40: Rates("A100 40 GB", 312e12, 156e12, 1.555e12),
    48: Rates("L40S", 362e12, 183e12, 0.864e12),
    80: Rates("A100 80 GB", 312e12, 156e12, 2.039e12),
    141: Rates("H200", 989e12, 494e12, 4.8e12),
}

SEEN = 0.92
"""Least part of that number that a card reports in GiB: 44.4 GiB are an L40S, 139.8 an H200."""


@dataclass(frozen=True)
class Hardware:
    """A node.

    Attributes:
        device: ``"cuda"`` or ``"cpu"``.
        name: For the report.
        memory: Bytes of one GPU; on a CPU those that are free.
        processes: GPUs, or 1.
        cores: Of the CPU.
        is_here: Whether a step can be tried.
        taken: Bytes of `memory` that cannot be had, since others hold them.
    """

    device: str
    name: str
    memory: float
    processes: int
    cores: int
    is_here: bool
    taken: float = 0.0

    @property
    def free(self) -> float:
        """Bytes of one GPU, or of the machine, that can be had."""
        return self.memory - self.taken


def find_hardware(
    gpu_gib: float | None, gpus: int | None, cores: int | None, *, on_cpu: bool
) -> Hardware:
    """Return the named hardware, or what is there.

    Args:
        gpu_gib: GiB of a GPU that is not here.
        gpus: How many; None for all, or one of those that are not here.
        cores: Cores of the CPU; None for those of this process.
        on_cpu: Whether the configuration asks for the CPU.

    Raises:
        ValueError: If GPUs are counted that are not there.
    """
    cores = cores or len(os.sched_getaffinity(0))
    if gpu_gib is not None:
        return Hardware("cuda", f"GPU of {gpu_gib:g} GiB", gpu_gib * GIB, gpus or 1, cores, False)
    if torch.cuda.is_available() and not on_cpu:
        here = torch.cuda.device_count()
        if (gpus or 0) > here:
            raise ValueError(f"--gpus {gpus}, but there are {here}; name theirs with --gpu-mem")
        properties, number = torch.cuda.get_device_properties(0), gpus or here
        total = properties.total_memory
        taken = max(_taken(device) for device in range(number))
        return Hardware("cuda", properties.name, total, number, cores, True, taken)
    if gpus is not None:
        raise ValueError(
            f"--gpus {gpus}, but trainer.accelerator is cpu; set it to gpu, or name the memory of "
            "other GPUs with --gpu-mem"
        )
    return Hardware("cpu", "CPU", free_memory(), 1, cores, True)


def _taken(device: int) -> float:
    """Return the bytes of a GPU that are not free, other than those kept for our own tensors."""
    free, total = torch.cuda.mem_get_info(device)
    return float(total - free - torch.cuda.memory_reserved(device))


def free_memory() -> float:
    """Return the bytes of memory that this process can still have, with what it has.

    A limit of a control group counts, such as those of containers and batch systems.
    """
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    group = Path("/sys/fs/cgroup/memory.max")
    if group.is_file() and (text := group.read_text().strip()).isdigit():
        limits.append(float(text))
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in lines:
            limits.append(1024 * float(lines["MemAvailable"].split()[0]) + resident_memory())
    return min(limits)


def resident_memory(name: str = "VmRSS") -> int:
    """Return bytes of memory of this process; ``"VmHWM"`` for its peak, 0 where unknown."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return 1024 * int(lines[name].split()[0])


def data_sheet(gib: float) -> Rates:
    """Return the data sheet of the largest card that has no more memory, or of the smallest.

    A card of 80 gigabytes reports 79 GiB, one of 141 only 139.8: what is named on a data sheet and
    what a card reports both find it.
    """
    smaller = [size for size in DATA_SHEETS if SEEN * size <= gib]
    return DATA_SHEETS[max(smaller, default=min(DATA_SHEETS))]
