"""Which processor cores a training process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

_GROUPS = Path("/proc/self/cgroup")
_LIMITS = Path("/sys/fs/cgroup")


def cores_of_process(trainer: pl.Trainer | None) -> int:
    """Return the cores of one training process, after those of its neighbours; at least 1.

    Args:
        trainer: Says how many training processes a node has; without one ``LOCAL_WORLD_SIZE`` does.
    """
    usable = usable_cores()
    environment = getattr(trainer.strategy, "cluster_environment", None) if trainer else None
    if isinstance(environment, SLURMEnvironment):
        # Each process is a task, whose cores are its own already if SLURM binds tasks to cores.
        if "SLURM_CPUS_PER_TASK" in os.environ:
            return max(1, min(usable, int(os.environ["SLURM_CPUS_PER_TASK"])))
        if usable < (os.cpu_count() or 1):
            return usable
    return max(1, usable // processes_of_node(trainer, os.environ))


def processes_of_node(trainer: pl.Trainer | None, environment: Mapping[str, str]) -> int:
    """Return the training processes of this machine.

    Args:
        trainer: The trainer, if there is one.
        environment: Where launchers such as torchrun set ``LOCAL_WORLD_SIZE``.
    """
    told = environment.get("LOCAL_WORLD_SIZE", "")
    if told.isdecimal() and int(told):
        return int(told)
    return max(1, trainer.num_devices) if trainer is not None else 1


def usable_cores() -> int:
    """Return the cores that the system lets this process run on, at least 1.

    That is its affinity, or the share of processor time of its container if that is less.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.floor(min(cores, limit_of_groups())))


def limit_of_groups(groups: Path = _GROUPS, limits: Path = _LIMITS) -> float:
    """Return the cores whose time the control groups of this process allow; infinite without limit.

    Args:
        groups: Where the system lists the groups of this process.
        limits: Where it keeps what they are allowed, in the form of version 1 or 2.
    """
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return math.inf
    lowest = math.inf
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = limits / "cpu" if controllers else limits
        place = Path(group.lstrip("/"))
        # The limits of the groups around it hold as well; a container sees its own as the root.
        for part in (place, *place.parents):
            lowest = min(lowest, _limit(folder / part))
    return lowest


def _limit(folder: Path) -> float:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
    except OSError:  # this group has no limit of its own
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
