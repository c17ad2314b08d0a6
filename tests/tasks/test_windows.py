"""Templates that learn by windows inside a training."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.pretrain import PretrainTask
from tests.distributed.ranks import launch
from tests.distributed.runs import fit, saved
from tests.tasks.test_resume import Interrupt
from tests.training import TEMPLATES, LossRecord, small_data, small_task, small_trainer

VALUES = "method.templates.values"


def task(update: str, **templates: Any) -> PretrainTask:
    options: Any = {"update": update, **templates}
    return small_task(templates=dataclasses.replace(TEMPLATES, **options))


def run(folder: Path, cache: Path, made: PretrainTask, **options: Any) -> dict[int, float]:
    record = LossRecord()
    trainer = small_trainer(folder, record, epochs=options.pop("epochs", 3))
    for name, value in options.pop("trainer", {}).items():
        setattr(trainer, name, value)
    trainer.fit(made, small_data(cache), **options)
    return record.losses


def assert_close(first: torch.Tensor, second: torch.Tensor) -> None:
    """A tenth of a step at worst, and a thousandth on average: some gradients are of eps's size.

    Weights are not compared: some of this network have gradients that are nothing but rounding.
    """
    step = 1e-3 * TEMPLATES.lr_scale
    assert (first - second).abs().max() < 0.1 * step
    assert (first - second).abs().mean() < 0.001 * step


def assert_alike(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert_close(first["state_dict"][VALUES], second["state_dict"][VALUES])
    ours, theirs = (saved["optimizer_states"][0]["state"] for saved in (first, second))
    assert ours.keys() == theirs.keys()
    for number, moments in ours.items():
        assert moments.keys() == theirs[number].keys()
        for name, value in moments.items():
            assert value.shape == theirs[number][name].shape
            assert float(value.sum()) == pytest.approx(float(theirs[number][name].sum()), abs=1e-2)


def test_a_run_by_windows_is_one_of_whole_templates(cache_folder: Path, tmp_path: Path) -> None:
    dense, windowed = task("dense"), task("windowed")
    first = run(tmp_path / "dense", cache_folder, dense)
    second = run(tmp_path / "windowed", cache_folder, windowed)
    assert windowed.by_windows
    assert not dense.by_windows
    assert windowed.method.learned_templates().values.grad is None  # type: ignore[union-attr]
    assert second == pytest.approx(first, rel=1e-4)
    start = torch.full_like(saved(tmp_path / "dense")["state_dict"][VALUES], TEMPLATES.start)
    assert (saved(tmp_path / "windowed")["state_dict"][VALUES] - start).abs().max() > 0.01
    assert_alike(saved(tmp_path / "dense"), saved(tmp_path / "windowed"))


@pytest.mark.parametrize("ways", [("dense", "windowed"), ("windowed", "dense"), ("windowed",) * 2])
def test_a_run_goes_on_in_either_way(
    cache_folder: Path, tmp_path: Path, ways: tuple[str, str]
) -> None:
    whole = run(tmp_path / "whole", cache_folder, task("dense"))
    folder = tmp_path / "cut"
    with pytest.raises(RuntimeError, match="cut"):
        small_trainer(folder, Interrupt(5)).fit(task(ways[0]), small_data(cache_folder))
    resumed = task(ways[1])
    resumed.resumes = True
    rest = run(folder, cache_folder, resumed, ckpt_path="last")
    assert sorted(rest) == list(range(5, 10))
    assert rest == pytest.approx({step: whole[step] for step in rest}, rel=2e-3)


@pytest.mark.parametrize(
    ("templates", "optimizer", "trainer", "word"),
    [
        ({"weight_decay": 0.1}, {}, {}, "weight_decay"),
        ({}, {"betas": (0.9, 0.8)}, {}, "betas"),
        ({}, {}, {"gradient_clip_val": 1.0}, "gradient_clip_val"),
    ],
)
def test_what_windows_do_not_go_with_is_named(
    cache_folder: Path,
    tmp_path: Path,
    templates: dict[str, Any],
    optimizer: dict[str, Any],
    trainer: dict[str, Any],
    word: str,
) -> None:
    made = task("windowed", **templates)
    made.optimizer_options = AdamWOptions(**optimizer)
    with pytest.raises(SetupError, match=word):
        run(tmp_path, cache_folder, made, trainer=trainer)
    made = task("auto", **templates)
    made.optimizer_options = AdamWOptions(**optimizer)
    run(tmp_path, cache_folder, made, trainer=trainer, epochs=1)
    assert not made.by_windows


def test_a_task_that_is_trained_again_decides_anew(cache_folder: Path, tmp_path: Path) -> None:
    made = task("windowed")
    run(tmp_path / "first", cache_folder, made, epochs=1)
    templates = made.method.learned_templates()
    assert templates is not None
    assert templates.windows is None
    learned = templates.values.detach().clone()
    templates.update = "dense"
    run(tmp_path / "second", cache_folder, made, epochs=1)
    assert not made.by_windows
    assert made._ddp_params_and_buffers_to_ignore == []
    assert (templates.values != learned).any()


def test_one_cpu_passes_over_whole_templates(cache_folder: Path, tmp_path: Path) -> None:
    made = task("auto")
    run(tmp_path, cache_folder, made, epochs=1)
    assert not made.by_windows


def train(rank: int, cache: Path, folder: Path, accumulate: int) -> None:
    options: Any = {"max_steps": 3, "accumulate_grad_batches": accumulate}
    for update in ("dense", "auto"):
        wanted: Any = {"shape": (64, 64, 64), "update": update}
        made = small_task(templates=dataclasses.replace(TEMPLATES, **wanted), contrast=None)
        losses = fit(made, small_data(cache), folder / update, "ddp", **options)
        facts = {"losses": losses, "by_windows": made.by_windows, "state": made.state_dict()}
        torch.save(facts, folder / f"{update}{rank}.pt")


@pytest.mark.parametrize("accumulate", [2, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_two_processes_exchange_windows(
    cache_folder: Path, tmp_path: Path, accumulate: int
) -> None:
    launch(train, 2, cache_folder, tmp_path, accumulate)
    dense, windowed, other = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True)
        for name in ("dense0", "auto0", "auto1")
    )
    assert windowed["by_windows"]
    assert not dense["by_windows"]
    assert windowed["losses"] == pytest.approx(dense["losses"], rel=1e-4)
    assert torch.equal(windowed["state"][VALUES], other["state"][VALUES])
    assert (windowed["state"][VALUES] != 0).any()
    assert_close(windowed["state"][VALUES], dense["state"][VALUES])
