"""How many processes read ahead, by what there is."""

import math
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from brainmvp_lightning.datamodules import cores, reading
from brainmvp_lightning.datamodules.cores import (
    cores_of_process,
    limit_of_groups,
    processes_of_node,
    usable_cores,
)
from brainmvp_lightning.datamodules.reading import (
    Reading,
    ReadingOptions,
    choose_workers,
    plan_reading,
    room_for_batches,
)
from tests.training import small_data, small_task, small_trainer


class Strategy:
    """What is asked of a strategy."""

    def __init__(self, device: str, environment: object = None) -> None:
        self.root_device = torch.device(device)
        self.cluster_environment = environment


class Node:
    """What is asked of a trainer on a machine that is not there."""

    def __init__(self, device: str, num_devices: int = 1, environment: object = None) -> None:
        self.strategy = Strategy(device, environment)
        self.num_devices = num_devices


def node(*args: Any, **kwargs: Any) -> pl.Trainer:
    trainer: Any = Node(*args, **kwargs)
    return trainer  # type: ignore[no-any-return]


@pytest.fixture
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 16)
    monkeypatch.setattr(reading, "room_for_batches", lambda *_: 1000)
    for name in ("LOCAL_WORLD_SIZE", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)


def test_one_core_is_left_to_the_training_on_a_gpu() -> None:
    chosen = [choose_workers(n, computes_elsewhere=True) for n in (1, 2, 4, 9, 64)]
    assert chosen == [1, 1, 3, 8, 8]


def test_a_step_on_the_cpu_needs_one_worker_at_most() -> None:
    assert [choose_workers(n, computes_elsewhere=False) for n in (1, 2, 16)] == [0, 1, 1]


def test_cores_are_shared_by_the_processes_of_a_node(sixteen_cores: None) -> None:
    assert cores_of_process(None) == 16
    assert cores_of_process(node("cuda", num_devices=4)) == 4
    assert cores_of_process(node("cuda", num_devices=32)) == 1


def test_a_launcher_knows_better_than_the_trainer() -> None:
    assert processes_of_node(node("cuda", num_devices=2), {"LOCAL_WORLD_SIZE": "8"}) == 8
    assert processes_of_node(node("cuda", num_devices=2), {"LOCAL_WORLD_SIZE": ""}) == 2
    assert processes_of_node(None, {}) == 1


def test_the_cores_of_a_slurm_task_are_its_own(
    sixteen_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = object.__new__(SLURMEnvironment)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "12")
    assert cores_of_process(node("cuda", num_devices=8, environment=slurm)) == 12
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    assert cores_of_process(node("cuda", num_devices=8, environment=slurm)) == 16
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    assert cores_of_process(node("cuda", num_devices=8, environment=slurm)) == 2


def test_the_lowest_limit_of_nested_groups_holds(tmp_path: Path) -> None:
    groups, limits = tmp_path / "groups", tmp_path / "limits"
    groups.write_text("0::/job/step\n")
    (limits / "job" / "step").mkdir(parents=True)
    assert limit_of_groups(groups, limits) == math.inf
    (limits / "job" / "step" / "cpu.max").write_text("max 100000\n")
    assert limit_of_groups(groups, limits) == math.inf
    (limits / "job" / "cpu.max").write_text("350000 100000\n")
    assert limit_of_groups(groups, limits) == 3.5
    (limits / "cpu.max").write_text("200000 100000\n")  # as a container sees its own group
    assert limit_of_groups(groups, limits) == 2.0


def test_limits_of_the_first_version_are_read(tmp_path: Path) -> None:
    groups, limits = tmp_path / "groups", tmp_path / "limits"
    groups.write_text("4:memory:/box\n2:cpu,cpuacct:/box\n")
    folder = limits / "cpu" / "box"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert limit_of_groups(groups, limits) == math.inf
    (folder / "cpu.cfs_quota_us").write_text("150000\n")
    assert limit_of_groups(groups, limits) == 1.5
    assert limit_of_groups(tmp_path / "none", limits) == math.inf


def test_part_of_a_core_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "limit_of_groups", lambda: 0.5)
    assert usable_cores() == 1
    monkeypatch.setattr(cores, "limit_of_groups", lambda: math.inf)
    assert usable_cores() == len(os.sched_getaffinity(0))


def test_half_of_the_shared_memory_is_for_the_batches_of_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 64_000_000))
    assert room_for_batches(1_000_000, 1, tmp_path) == 32
    assert room_for_batches(1_000_000, 4, tmp_path) == 8
    assert room_for_batches(1_000_000, 1, tmp_path / "none") > 10**6


@pytest.mark.parametrize(("room", "workers"), [(1000, 3), (12, 2), (6, 1), (0, 1)])
def test_workers_fit_into_the_shared_memory(
    sixteen_cores: None, monkeypatch: pytest.MonkeyPatch, room: int, workers: int
) -> None:
    monkeypatch.setattr(reading, "room_for_batches", lambda *_: room)
    # Of 4 cores one is for the training; each worker holds 4 batches ahead and 2 to spare.
    four = node("cuda", num_devices=4)
    chosen = plan_reading(ReadingOptions(), four, 10, num_batches=50, to_device=True)
    assert chosen.num_workers == workers


def test_no_worker_is_without_a_batch(sixteen_cores: None) -> None:
    chosen = plan_reading(ReadingOptions(), node("cuda"), 10, num_batches=2, to_device=True)
    assert chosen.num_workers == 2


def test_a_number_is_taken_as_it_is(sixteen_cores: None) -> None:
    options = ReadingOptions(num_workers=30, prefetch_factor=7)
    chosen = plan_reading(options, node("cuda"), 10, num_batches=2, to_device=True)
    assert (chosen.num_workers, chosen.ahead) == (30, 7)


def test_batches_are_copied_ahead_to_gpus_only_and_not_if_switched_off(sixteen_cores: None) -> None:
    def device(kind: str, *, wanted: bool = True, to_device: bool = True) -> torch.device | None:
        options = ReadingOptions(prefetch_to_device=wanted)
        return plan_reading(options, node(kind), 10, num_batches=2, to_device=to_device).device

    assert device("cuda:1") == torch.device("cuda:1")
    assert device("cuda:1", wanted=False) is None
    assert device("cuda:1", to_device=False) is None
    assert device("cpu") is None


def test_the_choice_reads_as_a_line() -> None:
    gpu = Reading(3, 4, pin_memory=True, device=torch.device("cuda:0"), cores=4)
    assert str(gpu) == "3 workers of 4 cores, 4 batches ahead, pinned, next one copied to cuda:0"
    assert str(Reading(1, 1, cores=2)) == "1 worker of 2 cores, 1 batch ahead"
    assert str(Reading(0)) == "read by the training process, 1 core"


@pytest.mark.parametrize("options", [{"num_workers": -1}, {"prefetch_factor": 0}])
def test_numbers_out_of_range_are_refused(cache_folder: Path, options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"data.{name} is .*; use "):
        small_data(cache_folder, **options)


def test_the_choice_is_said_once_and_used(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("brainmvp_lightning.datamodules.base.rank_zero_info", said.append)
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    data = small_data(cache_folder, num_workers="auto", prefetch_factor=3)
    trainer = small_trainer(tmp_path, epochs=2)
    trainer.fit(small_task(), data)
    assert said == ["data: 1 worker of 2 cores, 3 batches ahead"]
    loader: Any = trainer.train_dataloader
    assert (loader.num_workers, loader.prefetch_factor) == (1, 3)
