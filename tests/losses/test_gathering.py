"""Two processes with unequal numbers of samples equal one process with all of them."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from brainmvp_lightning.losses.contrastive import candidates_of, symmetric_info_nce
from brainmvp_lightning.losses.gathering import gather_rows

SIZES = ((3, 2), (4, 0), (1, 3), (0, 0))


def rows(num: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num)
    both = torch.randn(2, num, 4, generator=generator, dtype=torch.float64)
    share = torch.rand(num, generator=generator, dtype=torch.float64)
    return both[0].requires_grad_(), both[1].requires_grad_(), share


def contrast(first: torch.Tensor, second: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    candidates = candidates_of(first, second, share, gather=True)
    return symmetric_info_nce(first, second, 0.3, share=share, candidates=candidates)


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    results = []
    for sizes in SIZES:
        first, second, share = rows(sum(sizes))
        own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        loss = contrast(first[own], second[own], share[own])
        loss.backward()
        results.append((loss.detach(), first.grad, second.grad))
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_one_process_gets_its_own_rows_back() -> None:
    own = torch.ones(3, 2)
    gathered, start = gather_rows(own)
    assert gathered is own
    assert start == 0


def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    mp.spawn(run_rank, args=(str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for sizes, one, two in zip(SIZES, *ranks, strict=True):
        first, second, share = rows(sum(sizes))
        loss = contrast(first, second, share)
        loss.backward()
        # The sum of both, as the mean of both counts each sample with twice the share.
        assert torch.allclose(one[0] + two[0], loss.detach())
        for reference, a, b in zip((first.grad, second.grad), one[1:], two[1:], strict=True):
            assert torch.allclose(a + b, reference, atol=1e-12)
