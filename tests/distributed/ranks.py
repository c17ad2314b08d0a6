"""Processes that train together, on one machine and over gloo."""

import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def launch(work: Callable[..., None], num_ranks: int, *args: Any) -> None:
    """Call ``work(rank, *args)`` in each of some processes, which Lightning takes for its own."""
    mp.spawn(_rank, (work, num_ranks, free_port(), args), nprocs=num_ranks)


def _rank(
    rank: int, work: Callable[..., None], num_ranks: int, port: int, args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        WORLD_SIZE=str(num_ranks),
        LOCAL_RANK=str(rank),
        NODE_RANK="0",
    )
    dist.init_process_group("gloo", rank=rank, world_size=num_ranks)
    try:
        work(rank, *args)
    except BaseException:  # noqa: BLE001 - told, and not survived
        traceback.print_exc()
        os._exit(1)  # the others would wait for this one
    dist.barrier()
    dist.destroy_process_group()
