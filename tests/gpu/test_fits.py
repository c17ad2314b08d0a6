"""Whole trainings on a GPU: like those on a CPU, in each way that a step can be run."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from brainmvp_lightning.backbones.uniformer import UniFormerTiny
from brainmvp_lightning.masking.blocks import RandomCubes
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.methods.templates import TemplateOptions
from brainmvp_lightning.tasks.pretrain import PretrainTask
from tests.datamodules.labelled_cohort import write_cohort
from tests.gpu import runs
from tests.tasks.fine_tuning import (
    QUIET,
    classification_data,
    classification_task,
    segmentation_data,
    segmentation_task,
)
from tests.training import TEMPLATES, small_data, small_task

pytestmark = [*runs.ON_GPU, *QUIET]
UNIFORMER = partial(UniFormerTiny, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8)


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Let convolutions in float32 be no others than on a CPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def on_cpu(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    folder = tmp_path_factory.mktemp("cpu")
    return runs.losses_of(small_task(), small_data(cache_folder), folder, accelerator="cpu")


def pretrained(cache: Path, folder: Path, **changes: Any) -> tuple[PretrainTask, list[float]]:
    task = small_task(templates=replace(TEMPLATES, update=changes.get("update", "auto")))
    task.compile_with = changes.get("compile", False)
    task.checkpointing = changes.get("checkpointing", False)
    data = small_data(cache, num_workers=changes.get("num_workers", 0))
    options = {"precision": changes.get("precision", "32-true")}
    return task, runs.losses_of(task, data, folder, **options)


# After two steps of Adam, which takes rounding for a direction where a gradient is nearly 0; in
# bfloat16 numbers have three digits.
@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({}, 5e-3),
        ({"update": "dense"}, 5e-3),
        ({"update": "windowed"}, 5e-3),
        ({"num_workers": 1}, 5e-3),
        ({"checkpointing": True}, 5e-3),
        ({"compile": True}, 5e-3),
        ({"compile": True, "checkpointing": True, "precision": "bf16-mixed"}, 5e-2),
        ({"precision": "bf16-mixed"}, 5e-2),
    ],
    ids=str,
)
def test_a_pretraining_is_that_of_a_cpu(
    cache_folder: Path,
    tmp_path: Path,
    on_cpu: list[float],
    changes: dict[str, Any],
    tolerance: float,
) -> None:
    task, losses = pretrained(cache_folder, tmp_path, **changes)
    assert losses == pytest.approx(on_cpu, rel=tolerance)
    assert task.by_windows == (changes.get("update") != "dense")
    templates = runs.state_of(tmp_path)["method.templates.values"]
    assert templates.isfinite().all()
    assert templates.any()


@pytest.mark.parametrize("rescale", ["raw", "minmax"])
def test_a_uniformer_trains_with_everything_on(
    cache_folder: Path, tmp_path: Path, rescale: Any
) -> None:
    pl.seed_everything(2, verbose=False)
    templates = TemplateOptions(shape=(24, 24, 24), rescale=rescale, update="windowed", start=0.4)
    method = partial(BrainMVP, masking=RandomCubes(4, 0.75), templates=templates)
    task = PretrainTask(UNIFORMER, method, compile=True, checkpointing=True)
    options = {"precision": "bf16-mixed", "limit_val_batches": 1}
    start = {name: value.clone() for name, value in task.state_dict().items()}
    losses = runs.losses_of(task, small_data(cache_folder), tmp_path, **options)
    assert len(losses) == 3
    assert all(0 < loss < 100 for loss in losses)
    state = runs.state_of(tmp_path)
    assert all(value.isfinite().all() for value in state.values())
    moved = [name for name, value in state.items() if not torch.equal(value, start[name])]
    assert "method.templates.values" in moved
    assert any(name.startswith("backbone.stages.3.") for name in moved)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_a_fine_tuning_learns_validates_and_is_tested(
    cohort: Path, tmp_path: Path, kind: str, precision: str
) -> None:
    is_segmentation = kind == "segmentation"
    task = segmentation_task(ema=0.9) if is_segmentation else classification_task()
    make_data = segmentation_data if is_segmentation else classification_data
    losses = runs.losses_of(task, make_data(cohort), tmp_path, precision=precision)
    assert len(losses) == 3
    assert all(0 < loss < 100 for loss in losses)
    trainer = runs.make_trainer(tmp_path, precision=precision)
    (scores,) = trainer.test(task, make_data(cohort), verbose=False)
    assert scores
