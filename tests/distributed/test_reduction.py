"""DDP from a configuration: what is exchanged, how often, and that steps stay what they are."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.futures import Future

from brainmvp_lightning.tasks.pretrain import PretrainTask
from brainmvp_lightning.tasks.reduction import BUFFERS, choose_defaults
from tests.distributed.ranks import launch
from tests.distributed.runs import fit, saved, task
from tests.training import small_data, small_trainer

BATCHES = 4


class Count(Callback):
    """Averages gradients as DDP does, and counts how often and how many bytes."""

    def __init__(self, *, halves: bool = False) -> None:
        self.halves = halves
        self.calls: list[int] = []
        self.facts: dict[str, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        ddp: Any = trainer.strategy.model
        ddp.register_comm_hook(None, self.reduce)
        names = ("gradient_as_bucket_view", BUFFERS, "static_graph")
        self.facts = {name: getattr(ddp, name) for name in names}

    def reduce(self, state: None, bucket: dist.GradBucket) -> Future[Tensor]:
        self.calls.append(bucket.buffer().nbytes)
        hook = default_hooks.bf16_compress_hook if self.halves else default_hooks.allreduce_hook
        return hook(None, bucket)  # type: ignore[arg-type]


def plain_task() -> PretrainTask:
    """Descends without moments: Adam would make steps of what is rounding only."""
    made = task(contrast=None)
    made.configure_optimizers = lambda: torch.optim.SGD(made.parameters(), lr=1e-2)  # type: ignore[method-assign]
    return made


def work(rank: int, cache: Path, folder: Path) -> None:
    results = {}
    for name, steps, callback, options in (
        ("each", BATCHES, Count(), {}),
        ("half", BATCHES // 2, Count(), {"accumulate_grad_batches": 2}),
        ("static", BATCHES, Count(), {"strategy_options": {"static_graph": True}}),
        ("bfloat16", BATCHES, Count(halves=True), {}),
    ):
        made, data = plain_task(), small_data(cache, batch_size=1, visits_per_epoch=4)
        losses = fit(made, data, folder / name, "ddp", callback, max_steps=steps, **options)  # type: ignore[arg-type]
        results[name] = {"calls": callback.calls, "losses": losses, **callback.facts}
    torch.save(results, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def runs(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reduction")
    launch(work, 2, cache_folder, folder)
    return folder


@pytest.fixture(scope="module")
def results(runs: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(runs / "0.pt", weights_only=True)
    return content


def state(runs: Path, name: str) -> dict[str, Tensor]:
    content: dict[str, Tensor] = saved(runs / name)["state_dict"]
    return content


@pytest.mark.slow
def test_gradients_are_exchanged_once_a_step_however_many_batches_it_has(
    results: dict[str, Any],
) -> None:
    every, half = results["each"]["calls"], results["half"]["calls"]
    assert len(every) % BATCHES == 0
    assert 2 * len(half) == len(every)
    assert 2 * sum(half) == sum(every)


@pytest.mark.slow
def test_the_bytes_of_a_step_are_those_of_the_parameters(results: dict[str, Any]) -> None:
    made = task(contrast=None)
    num_bytes = sum(parameter.nbytes for parameter in made.parameters())
    assert sum(results["each"]["calls"]) == BATCHES * num_bytes


@pytest.mark.slow
def test_an_accumulated_step_is_that_of_one_process_with_all_studies(
    runs: Path, cache_folder: Path, tmp_path: Path
) -> None:
    trainer = small_trainer(tmp_path, epochs=1)
    trainer.fit_loop.epoch_loop.max_steps = BATCHES // 2
    one = plain_task()
    trainer.fit(one, small_data(cache_folder, batch_size=4, visits_per_epoch=4))
    assert trainer.global_step == BATCHES // 2
    two = state(runs, "half")
    start = plain_task().state_dict()
    assert any(not torch.equal(start[name], value) for name, value in two.items())
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_static_graph_changes_nothing(runs: Path, results: dict[str, Any]) -> None:
    assert results["static"]["static_graph"]
    assert not results["each"]["static_graph"]
    assert results["static"]["losses"] == results["each"]["losses"]
    one, two = state(runs, "each"), state(runs, "static")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_gradients_in_bfloat16_lead_nearly_to_the_same_weights(runs: Path) -> None:
    one, two = state(runs, "each"), state(runs, "bfloat16")
    assert any(not torch.equal(one[name], two[name]) for name in one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_gradients_are_views_and_constant_buffers_stay_where_they_are(
    results: dict[str, Any],
) -> None:
    assert results["each"]["gradient_as_bucket_view"]
    assert not results["each"][BUFFERS]


def test_running_statistics_are_sent_unless_norms_see_all_samples() -> None:
    network = nn.Sequential(nn.BatchNorm3d(2))
    for layer_sync, is_sent in ((None, True), (object(), False)):
        strategy = DDPStrategy()
        strategy._layer_sync = layer_sync  # type: ignore[assignment]
        choose_defaults(strategy, network)
        assert strategy._ddp_kwargs == {
            "gradient_as_bucket_view": True,
            BUFFERS: is_sent,
        }


def test_what_a_configuration_says_of_ddp_is_kept() -> None:
    strategy = DDPStrategy(gradient_as_bucket_view=False, broadcast_buffers=True)
    choose_defaults(strategy, nn.Linear(2, 2))
    assert strategy._ddp_kwargs == {"gradient_as_bucket_view": False, "broadcast_buffers": True}
    choose_defaults(SingleDeviceStrategy("cpu"), nn.Linear(2, 2))  # of which nothing is wanted
