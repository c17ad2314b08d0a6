"""Two GPUs over NCCL: whole and spread weights, dense and windowed templates."""

import os
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.strategies import DDPStrategy, Strategy

from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.sharding import FullySharded
from tests.distributed.ranks import free_port
from tests.gpu import runs
from tests.training import TEMPLATES, small_data, small_task

pytestmark = [
    *runs.ON_GPU,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]
WAYS: dict[str, dict[str, Any]] = {
    "ddp": {"update": "dense"},
    "windows": {"update": "windowed"},
    "fsdp": {"update": "dense"},
    "fsdp bf16": {"update": "dense", "precision": "bf16-mixed"},
}


def strategy_of(way: str) -> Strategy:
    return FullySharded() if way.startswith("fsdp") else DDPStrategy()


def train(cache: Path, folder: Path, way: str, accelerator: str) -> list[float]:
    task = small_task(templates=replace(TEMPLATES, update=WAYS[way]["update"]))
    task.optimizer_options = AdamWOptions(learning_rate=1e-3, final_fraction=1.0)
    return runs.losses_of(
        task,
        small_data(cache),
        folder / way,
        accelerator=accelerator,
        devices=2,
        strategy=strategy_of(way),
        precision=WAYS[way].get("precision", "32-true"),
        limit_val_batches=0,
    )


def work(rank: int, port: int, cache: Path, folder: Path, accelerator: str) -> None:
    """Train in each way, as one of two processes that Lightning takes for its own."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(WORLD_SIZE="2", LOCAL_RANK=str(rank), NODE_RANK="0")
    torch.set_num_threads(1)
    if accelerator == "gpu":
        torch.cuda.set_device(rank)
        torch.backends.cudnn.allow_tf32 = False
    dist.init_process_group("nccl" if accelerator == "gpu" else "gloo", rank=rank, world_size=2)
    try:
        results = {way: train(cache, folder, way, accelerator) for way in WAYS}
        torch.save(results, folder / f"{rank}.pt")
    except BaseException:  # noqa: BLE001 - told, and not survived
        traceback.print_exc()
        os._exit(1)  # the other would wait for this one
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gpus")
    mp.spawn(work, (free_port(), cache_folder, made, runs.ACCELERATOR), nprocs=2)
    return made


@pytest.mark.parametrize(
    ("way", "tolerance"), [("windows", 5e-3), ("fsdp", 5e-3), ("fsdp bf16", 5e-2)]
)
def test_other_ways_train_as_ddp_does(folder: Path, way: str, tolerance: float) -> None:
    for rank in range(2):
        results = torch.load(folder / f"{rank}.pt", weights_only=True)
        assert len(results["ddp"]) == 3
        assert results[way] == pytest.approx(results["ddp"], rel=tolerance)
    one, two = runs.state_of(folder / way), runs.state_of(folder / "ddp")
    assert {name: value.shape for name, value in one.items()} == {
        name: value.shape for name, value in two.items()
    }
    templates, expected = (state["method.templates.values"] for state in (one, two))
    if way == "fsdp bf16":
        assert templates.any()
    else:  # a voxel whose gradient is nearly 0 may go either way
        assert (templates - expected).norm() < 0.05 * expected.norm()
