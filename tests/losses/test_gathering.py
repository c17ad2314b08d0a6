"""Processes with unequal numbers of samples equal one process with all of them."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from brainmvp_lightning.losses.contrastive import candidates_of, symmetric_info_nce
from brainmvp_lightning.losses.gathering import gather_rows

SIZES = {
    2: ((3, 2), (4, 0), (1, 3), (1, 0), (0, 0)),
    3: ((2, 4, 1), (0, 3, 0), (4, 0, 2), (0, 0, 0)),
}
CAPACITY = 5
WAITS = {"item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__"}


class Collectives(TorchDispatchMode):
    """Keeps the names of what processes exchange, and of what makes the host wait for a value."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.names.append(func.__name__)
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.waits.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Waits(TorchFunctionMode):
    """Keeps the names of methods that bring a tensor's values to Python."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in WAITS:
            self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def rows(num: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num)
    both = torch.randn(2, num, 4, generator=generator, dtype=torch.float64)
    share = torch.rand(num, generator=generator, dtype=torch.float64)
    share[1::4] = 0
    return both[0].requires_grad_(), both[1].requires_grad_(), share


def contrast(
    first: Tensor, second: Tensor, share: Tensor, capacity: int | None
) -> tuple[Tensor, Tensor]:
    """Return the loss and the number of negatives."""
    candidates = candidates_of(first, second, share, gather=True, capacity=capacity)
    loss = symmetric_info_nce(first, second, 0.3, share=share, candidates=candidates)
    return loss, candidates.num_negatives()


def run_part(sizes: tuple[int, ...], rank: int, capacity: int | None) -> dict[str, Any]:
    """Return what a step with this rank's part of all rows gives, and what it exchanges."""
    first, second, share = rows(sum(sizes))
    own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    with Collectives() as collectives, Waits() as waits:
        loss, negatives = contrast(first[own], second[own], share[own], capacity)
        loss.backward()
    return {
        "loss": loss.detach(),
        "gradients": [first.grad, second.grad],
        "negatives": negatives,
        "collectives": collectives.names,
        "waits": collectives.waits + waits.names,
    }


def run_rank(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size
    )
    results = {
        (sizes, capacity): run_part(sizes, rank, capacity)
        for sizes in SIZES[world_size]
        for capacity in (CAPACITY, None)
    }
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[Any, dict[str, Any]]]:
    """What each of two or three processes gets, by sizes and capacity."""
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "OMP_NUM_THREADS", "1")
        mp.spawn(run_rank, args=(request.param, str(folder)), nprocs=request.param)
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


Ranks = list[dict[Any, dict[str, Any]]]


def test_one_process_gets_its_own_rows_back() -> None:
    own = torch.ones(3, 2)
    gathered, start = gather_rows(own, capacity=4)
    assert gathered is own
    assert start == 0


def test_more_rows_than_the_capacity_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows do not fit a capacity of 2"):
        gather_rows(torch.ones(3, 2), capacity=2)


def test_processes_equal_one(ranks: Ranks) -> None:
    for sizes, capacity in ranks[0]:
        parts = [rank[sizes, capacity] for rank in ranks]
        first, second, share = rows(sum(sizes))
        loss, negatives = contrast(first, second, share, None)
        loss.backward()
        # The sum of all, as the mean counts each sample with its share times the processes.
        assert torch.allclose(torch.stack([part["loss"] for part in parts]).sum(), loss.detach())
        for number, reference in enumerate((first.grad, second.grad)):
            gradient = torch.stack([part["gradients"][number] for part in parts]).sum(0)
            assert torch.allclose(gradient, reference, rtol=1e-12, atol=1e-12)
        assert all(part["negatives"] == negatives for part in parts)
        assert negatives == max(0, int((share > 0).sum()) - 1)


def test_each_process_gets_the_loss_of_its_own_samples(ranks: Ranks) -> None:
    for sizes, capacity in ranks[0]:
        first, second, share = rows(sum(sizes))
        starts = [sum(sizes[:rank]) for rank in range(len(sizes))]
        for rank, start, size in zip(ranks, starts, sizes, strict=True):
            own = torch.zeros_like(share)
            own[start : start + size] = share[start : start + size]
            counts = candidates_of(first, second, share, gather=False)
            loss = symmetric_info_nce(first, second, 0.3, share=own, candidates=counts)
            assert rank[sizes, capacity]["loss"].item() == pytest.approx(loss.item())


def test_a_capacity_makes_one_collective_do_and_no_host_wait(ranks: Ranks) -> None:
    for rank in ranks:
        for (_, capacity), part in rank.items():
            if capacity is not None:
                assert part["collectives"] == ["_allgather_base_.default"]
                assert part["waits"] == []


def test_without_a_capacity_the_number_of_rows_is_agreed_on_first(ranks: Ranks) -> None:
    for rank in ranks:
        for (sizes, capacity), part in rank.items():
            if capacity is None:
                exchanged = ["allreduce_.default"] + ["_allgather_base_.default"] * any(sizes)
                assert part["collectives"] == exchanged
                assert part["waits"]
