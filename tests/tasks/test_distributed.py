"""Two processes with batch b do what one process with batch 2b does."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from brainmvp_lightning.batches import StepInfo, StudyBatch
from brainmvp_lightning.tasks.pretrain import PretrainTask
from tests.training import small_data, small_task

STEPS = 4  # five studies: the second step of an epoch is uneven
INFO = StepInfo(step=0, max_steps=10, epoch=0, max_epochs=1, is_training=True)


class Step(torch.nn.Module):
    """The computation of a training step as one module, for DDP to wrap."""

    def __init__(self, task: PretrainTask) -> None:
        super().__init__()
        self.backbone, self.method = task.backbone, task.method

    def forward(self, batch: StudyBatch) -> torch.Tensor:
        terms = self.method.loss(self.backbone, self.method.views(batch, INFO), INFO)
        weights = self.method.weights(INFO)
        return torch.stack([weights[k] * term for k, term in terms.terms.items()]).sum()


def in_double(batch: StudyBatch) -> StudyBatch:
    values: Any = {
        name: value.double() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in batch.items()
    }
    doubled: StudyBatch = values
    return doubled


def train(cache: Path, rank: int, world_size: int, batch_size: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    data = small_data(cache, batch_size=batch_size)
    task = small_task().double()  # so that nothing but the order of sums may differ
    task.method.prepare(data.describe())
    step: torch.nn.Module = Step(task)
    if world_size > 1:
        step = DistributedDataParallel(step)
    optimizer = torch.optim.SGD(step.parameters(), lr=1e-2)
    loader = data.train_dataloader()
    loader.study_sampler.rank, loader.study_sampler.world_size = rank, world_size
    losses, studies, gradients = [], [], {}
    while len(losses) < STEPS:
        for packed in loader:
            batch = in_double(packed.unpack())
            loss = step(batch)
            optimizer.zero_grad()
            loss.backward()
            if not losses:
                gradients = {n: p.grad.clone() for n, p in task.named_parameters()}  # type: ignore[union-attr]
            optimizer.step()
            losses.append(float(loss.detach()))
            counted = zip(batch["study"], batch["weight"].tolist(), strict=True)
            studies.append([study for study, weight in counted if weight > 0])
        loader.study_sampler.set_epoch(loader.study_sampler.epoch + 1)
    return {
        "losses": losses,
        "studies": studies,
        "gradients": gradients,
        "state": task.state_dict(),
    }


def work(rank: int, port: int, cache: Path, folder: Path) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.save(train(cache, rank, 2, batch_size=2), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def runs(
    cache_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, cache_folder, folder), nprocs=2)
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return train(cache_folder, 0, 1, batch_size=4), ranks


Runs = tuple[dict[str, Any], list[dict[str, Any]]]


def test_shards_are_disjoint_and_complete(runs: Runs) -> None:
    one, (first, second) = runs
    for whole, a, b in zip(one["studies"], first["studies"], second["studies"], strict=True):
        assert a + b == whole
        assert not set(a) & set(b)
    assert {study for step in one["studies"][:2] for study in step} == {
        study for rank in (first, second) for step in rank["studies"][:2] for study in step
    }
    assert len({study for step in one["studies"][:2] for study in step}) == 5


def test_mean_loss_of_two_ranks_is_that_of_one(runs: Runs) -> None:
    one, (first, second) = runs
    means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert means == pytest.approx(one["losses"], rel=1e-5)


def test_gradients_agree(runs: Runs) -> None:
    one, ranks = runs
    for rank in ranks:
        for name, gradient in one["gradients"].items():
            torch.testing.assert_close(rank["gradients"][name], gradient, rtol=1e-9, atol=1e-12)


def test_weights_and_templates_agree_after_some_steps(runs: Runs) -> None:
    one, ranks = runs
    assert one["state"]["method.templates.values"].abs().sum() > 0
    for rank in ranks:
        for name, value in one["state"].items():
            torch.testing.assert_close(rank["state"][name], value, rtol=1e-3, atol=1e-4)
