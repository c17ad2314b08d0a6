"""Two processes that compile and checkpoint have the gradients of two that do not."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.tasks.acceleration import accelerate

pytestmark = pytest.mark.slow


def trained(rank: int, *, fast: bool) -> dict[str, Tensor]:
    """Return weights and running statistics after two steps on samples of this process."""
    torch.manual_seed(0)
    backbone = UniFormer(1, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8, drop_path=0.5)
    if fast:
        accelerate(backbone, compile="aot_eager", checkpointing=True)
    network = DistributedDataParallel(backbone, broadcast_buffers=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    image = torch.rand(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(rank))
    for step in range(2):
        torch.manual_seed(step)
        loss = network(image)[-1].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return backbone.state_dict()


def work(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    states = [trained(rank, fast=fast) for fast in (False, True)]
    torch.save(states, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_weights_and_statistics_are_those_of_plain_processes(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, tmp_path), nprocs=2)
    ranks: list[list[dict[str, Any]]] = [
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)
    ]
    for plain, fast in ranks:
        assert plain.keys() == fast.keys()
        for name, value in plain.items():
            torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-5)
    assert ranks[0][1]["norm.running_mean"].ne(ranks[1][1]["norm.running_mean"]).any()
