"""Templates that learn by windows, on one process and on two."""

import copy
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from brainmvp_lightning.losses.gathering import ALL_GATHER
from brainmvp_lightning.methods.templates import STEPS_BETWEEN_EXTREMES, ModalityTemplates, Rescale

SHAPE = (12, 10, 14)
SIZE = (5, 6, 4)
BETAS, EPS, RATE = (0.9, 0.999), 1e-8, 1e-2
STEPS = 40


def made(rescale: Rescale = "raw", smooth: float = 0.0) -> ModalityTemplates:
    templates = ModalityTemplates(("t1", "t2", "adc"), SHAPE, rescale, 0.4, smooth)
    generator = torch.Generator().manual_seed(0)
    templates.values.data = 1.6 * torch.rand(templates.values.shape, generator=generator) - 0.3
    return templates


def places(step: int, num: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return templates, first voxels (some outside) and targets of the crops of a step."""
    generator = torch.Generator().manual_seed(step)
    indices = torch.randint(0, 3, (num,), generator=generator)
    origins = torch.randint(-9, 6, (num, 3), generator=generator)
    return indices, origins, torch.rand(num, 1, *SIZE, generator=generator)


def loss_of(templates: ModalityTemplates, step: int, rows: slice, num: int = 4) -> torch.Tensor:
    indices, origins, targets = places(step, num)
    crops = templates.crop(indices[rows], origins[rows], SIZE, capacity=num)
    return (crops - targets[rows]).square().mean(dim=(1, 2, 3, 4)).sum() / num


def dense(templates: ModalityTemplates, micro: int = 1) -> ModalityTemplates:
    optimizer = torch.optim.AdamW([templates.values], RATE, BETAS, EPS, weight_decay=0.0)
    for step in range(STEPS):
        for part in range(micro):
            loss_of(templates, micro * step + part, slice(None)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return templates


def windowed(templates: ModalityTemplates, micro: int = 1) -> ModalityTemplates:
    learned = templates.learn_in_windows(BETAS, EPS)
    for step in range(STEPS):
        for part in range(micro):
            loss_of(templates, micro * step + part, slice(None)).backward()
        assert templates.values.grad is None
        learned.step(RATE)
    return templates


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize(("rescale", "smooth"), [("raw", 0.0), ("clamp", 0.0), ("raw", 1.0)])
def test_windows_learn_what_whole_templates_learn(
    rescale: Rescale, smooth: float, micro: int
) -> None:
    expected = dense(made(rescale, smooth), micro)
    learned = windowed(made(rescale, smooth), micro)
    assert (expected.values - made().values).abs().mean() > 2 * RATE
    torch.testing.assert_close(learned.volumes(), expected.volumes(), rtol=0, atol=1e-4)


def test_minmax_takes_extremes_for_constants_for_some_steps() -> None:
    learned = made("minmax")
    windows = learned.learn_in_windows(BETAS, EPS)
    indices, origins, _ = places(0, 4)
    drifts = []
    for step in range(4 * STEPS_BETWEEN_EXTREMES):
        with torch.no_grad():
            crops = learned.crop(indices, origins, SIZE)
            exact = made("minmax")
            exact.values.copy_(copy.deepcopy(learned).state_dict()["values"])
            drifts.append((crops - exact.crop(indices, origins, SIZE)).abs().max().item())
        loss_of(learned, step, slice(None)).backward()
        windows.step(RATE)
    # Measured anew at steps 0, 1, 2, 4, ..., then every 32.
    fresh = [0, 1, 2, 4, 8, 16, 32, 64, 96]
    assert max(drifts[step] for step in fresh) < 1e-5
    assert 0 < max(drifts) < 3 * STEPS_BETWEEN_EXTREMES * RATE


def test_minmax_of_constant_templates_stays_in_range_from_the_first_step_on() -> None:
    learned = ModalityTemplates(("t1", "t2", "adc"), SHAPE, "minmax")
    windows = learned.learn_in_windows(BETAS, EPS)
    for step in range(STEPS_BETWEEN_EXTREMES):
        indices, origins, _ = places(step, 4)
        with torch.no_grad():
            crops = learned.crop(indices, origins, SIZE)
        assert crops.min() >= -1
        assert crops.max() <= 2
        loss_of(learned, step, slice(None)).backward()
        windows.step(RATE)


def test_learning_densely_again_goes_on_from_where_windows_were() -> None:
    learned = windowed(made())
    learned.learn_densely()
    torch.testing.assert_close(learned.values, dense(made()).values, rtol=0, atol=1e-4)
    loss_of(learned, 0, slice(None)).backward()
    assert learned.values.grad is not None


def test_frozen_templates_do_not_learn() -> None:
    learned = made()
    windows = learned.learn_in_windows(BETAS, EPS)
    learned.values.requires_grad_(False)
    assert not loss_of(learned, 0, slice(None)).requires_grad
    windows.step(RATE)
    assert torch.equal(learned.volumes(), made().values)


def test_more_windows_than_the_capacity_are_refused() -> None:
    learned = made()
    learned.learn_in_windows(BETAS, EPS)
    indices, origins, _ = places(0, 4)
    with pytest.raises(ValueError, match="4 windows do not fit a capacity of 3"):
        learned.crop(indices, origins, SIZE, capacity=3)


def test_saving_and_loading_sees_voxels_that_are_up_to_date() -> None:
    learned, expected = windowed(made()), dense(made())
    saved = learned.state_dict()
    torch.testing.assert_close(saved["values"], expected.values.detach(), rtol=0, atol=1e-4)
    other = made()
    learned.load_state_dict(other.state_dict())
    assert torch.equal(learned.volumes(), other.values)


def test_validation_leaves_nothing_behind() -> None:
    learned = made()
    windows = learned.learn_in_windows(BETAS, EPS)
    with torch.no_grad():
        loss_of(learned, 0, slice(None))
    windows.step(RATE)
    assert torch.equal(learned.volumes(), made().values)


def test_windows_that_no_loss_looked_at_count_as_zeros() -> None:
    learned = made()
    windows = learned.learn_in_windows(BETAS, EPS)
    indices, origins, _ = places(0, 4)
    learned.crop(indices, origins, SIZE)
    windows.step(RATE)
    assert torch.equal(learned.volumes(), made().values)


def share(rank: int, step: int) -> slice:
    """The rows of a rank: uneven, and none at times."""
    cut = step % 5
    return slice(0, cut) if rank == 0 else slice(cut, 4)


def work(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    calls: list[str] = []
    for name in (ALL_GATHER, "all_reduce", "all_gather", "broadcast"):
        count(name, calls)
    templates = made()
    learned = templates.learn_in_windows(BETAS, EPS)
    for step in range(STEPS):
        # Twice the loss: processes average gradients.
        (2 * loss_of(templates, step, share(rank, step))).backward()
        learned.step(RATE)
    torch.save({"values": templates.volumes(), "calls": calls}, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def count(name: str, calls: list[str]) -> None:
    original: Any = getattr(dist, name)

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(name)
        return original(*args, **options)

    setattr(dist, name, counted)


def test_two_processes_learn_what_one_learns_in_one_collective_a_step(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first["values"], second["values"])
    assert first["calls"] == [ALL_GATHER] * STEPS
    expected = dense(made()).values.detach()
    torch.testing.assert_close(first["values"], expected, rtol=0, atol=1e-4)
