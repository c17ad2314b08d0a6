"""Windowed updates: the path of AdamW at the cost of what is touched."""

import pytest
import torch

from brainmvp_lightning.methods import windowed_adamw
from brainmvp_lightning.methods.windowed_adamw import WindowedAdamW

NUM_VOXELS = 600
RATE = 1e-2


def windows_of(step: int, num: int = 3, length: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Return some windows, which overlap at times, and their gradients."""
    generator = torch.Generator().manual_seed(step)
    starts = torch.randint(0, NUM_VOXELS - length + 1, (num, 1), generator=generator)
    return starts + torch.arange(length), torch.randn(num, length, generator=generator)


def rate_of(step: int, num_steps: int) -> float:
    return RATE * (1 - step / num_steps)


class Rivals:
    """The same volume, once with torch's AdamW and once with ours."""

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        start = torch.rand(NUM_VOXELS, generator=torch.Generator().manual_seed(7))
        self.dense = start.clone().requires_grad_()
        self.values = start.clone()
        self.adamw = torch.optim.AdamW([self.dense], RATE, betas, eps, weight_decay=0.0)
        self.windowed = WindowedAdamW(self.values, betas, eps)

    def run(self, num_steps: int, scale: float = 1.0, settle_every: int = 0) -> float:
        """Let both step; return how far apart they ever were where we looked."""
        worst = 0.0
        for step in range(num_steps):
            windows, gradients = windows_of(step)
            places = windows.flatten()
            seen = self.windowed.read(places)
            worst = max(worst, (seen - self.dense.detach()[places]).abs().max().item())
            dense = torch.zeros(NUM_VOXELS)
            dense.index_add_(0, places, scale * gradients.flatten())
            self.dense.grad = dense
            self.adamw.param_groups[0]["lr"] = rate_of(step, num_steps)
            self.adamw.step()
            self.windowed.step(windows, scale * gradients, rate_of(step, num_steps))
            if settle_every and step % settle_every == 0:
                self.windowed.settle()
        return worst


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.95), (0.0, 0.99)])
def test_the_path_is_that_of_adamw(betas: tuple[float, float]) -> None:
    rivals = Rivals(betas)
    assert rivals.run(200) < 1e-5
    rivals.windowed.settle()
    torch.testing.assert_close(rivals.values, rivals.dense.detach(), rtol=0, atol=1e-5)
    state, expected = rivals.windowed.state(), rivals.adamw.state[rivals.dense]
    assert state["step"] == expected["step"] == 200
    torch.testing.assert_close(state["exp_avg"], expected["exp_avg"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(state["exp_avg_sq"], expected["exp_avg_sq"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e-7, 1e-8, 1e-9])
def test_gradients_as_small_as_eps_change_the_path_by_a_part_of_one_step(scale: float) -> None:
    rivals = Rivals()
    start = rivals.dense.detach().clone()
    assert rivals.run(200, scale) < 0.2 * RATE
    rivals.windowed.settle()
    moved = (start - rivals.dense.detach()).abs()
    difference = (rivals.values - rivals.dense.detach()).abs()
    assert moved.max() > 0.0
    assert difference.max() < 0.02 * moved.max()
    assert difference.mean() < 0.01 * moved.mean()


def test_settling_at_any_time_changes_nothing() -> None:
    often, never = Rivals(), Rivals()
    often.run(60, settle_every=7)
    never.run(60)
    often.windowed.settle()
    never.windowed.settle()
    torch.testing.assert_close(often.values, never.values, rtol=0, atol=1e-6)


def test_voxels_outside_all_windows_stay_bitwise() -> None:
    rivals = Rivals()
    before = rivals.values.clone()
    for step in range(5):
        windows = torch.arange(100, 140)[None]
        rivals.windowed.step(windows, torch.randn(1, 40), RATE)
        assert rivals.windowed.num_steps == step + 1
    rivals.windowed.settle()
    outside = torch.ones(NUM_VOXELS, dtype=torch.bool)
    outside[100:140] = False
    assert torch.equal(rivals.values[outside], before[outside])
    assert (rivals.values[~outside] != before[~outside]).all()


def test_tables_may_run_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed_adamw, "MAX_STEPS", 16)
    rivals = Rivals()
    assert rivals.run(100) < 1e-5


def test_a_state_of_adamw_goes_on_windowed_and_back() -> None:
    rivals = Rivals()
    rivals.run(30)
    resumed = WindowedAdamW(rivals.dense.detach().clone())
    resumed.restore(rivals.adamw.state[rivals.dense])
    windows, gradients = windows_of(1000)
    resumed.step(windows, gradients, RATE)
    rivals.windowed.step(windows, gradients, RATE)
    rivals.windowed.settle()
    resumed.settle()
    torch.testing.assert_close(resumed.volumes, rivals.values, rtol=0, atol=1e-5)
    assert resumed.state()["step"] == 31


@pytest.mark.parametrize("betas", [(0.9, 0.8), (0.99, 0.9), (0.9, 1.0)])
def test_betas_that_never_rest_are_refused(betas: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="update to dense"):
        WindowedAdamW(torch.zeros(4), betas)


def test_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        WindowedAdamW(torch.zeros(4, dtype=torch.bfloat16))
