"""Whole runs that compile, checkpoint and clip: their files are those of plain runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from brainmvp_lightning.callbacks.checkpoints import LastCheckpoint
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from tests.datamodules.labelled_cohort import write_cohort
from tests.tasks.fine_tuning import BACKBONE, QUIET, segmentation_data, segmentation_task, trainer
from tests.training import LossRecord, small_data, small_task, small_trainer

pytestmark = [
    *QUIET,
    # Torch's own, on its way to a graph; it hides them from users.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]
FAST: dict[str, Any] = {"compile": "eager", "checkpointing": True}  # only captures graphs


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def saved(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def is_compiled(module: torch.nn.Module) -> bool:
    return any(part._compiled_call_impl is not None for part in module.modules())


def pretrained(cache: Path, folder: Path, **options: Any) -> dict[int, float]:
    record = LossRecord()
    task = small_task()
    task.compile_with = options.get("compile", False)
    task.checkpointing = options.get("checkpointing", False)
    small_trainer(folder, record, epochs=2).fit(task, small_data(cache))
    assert is_compiled(task) == bool(options)
    return record.losses


def test_a_pretraining_learns_and_writes_what_a_plain_one_does(
    cache_folder: Path, tmp_path: Path
) -> None:
    plain = pretrained(cache_folder, tmp_path / "plain")
    fast = pretrained(cache_folder, tmp_path / "fast", **FAST)
    assert fast == pytest.approx(plain, rel=1e-4)
    one, other = (saved(tmp_path / name)["state_dict"] for name in ("fast", "plain"))
    assert list(one) == list(other)
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, rtol=1e-3, atol=1e-4)


def test_a_fine_tuning_goes_on_compiled_with_its_average(cohort: Path, tmp_path: Path) -> None:
    for steps in (1, 2):
        task = segmentation_task(ema=0.9, **FAST)
        task.resumes = steps == 2
        runner = trainer(tmp_path, LastCheckpoint(), steps=steps)
        path = str(tmp_path / "checkpoints" / "last.ckpt") if task.resumes else None
        runner.fit(task, datamodule=segmentation_data(cohort), ckpt_path=path)
        assert runner.global_step == steps
        assert task.model is not None
        assert task.ema is not None
        assert is_compiled(task.model)
        assert is_compiled(task.ema)
        assert all(stage.checkpointing for stage in task.model.backbone.stages)
    spec = saved(tmp_path)["model_spec"]
    assert not {"compile", "checkpointing"} & set(str(spec).replace("'", " ").split())


def test_both_settings_are_plain_values_of_the_configuration() -> None:
    task = SegmentationTask(BACKBONE, compile="eager", checkpointing=True)
    assert (task.compile_with, task.checkpointing) == ("eager", True)


class Fused(SegmentationTask):
    """Steps a fused AdamW, whatever is clipped."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3, fused=True)


class GradientRecord(Callback):
    """Keeps the gradients that the last step was made with."""

    def __init__(self) -> None:
        self.gradients: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, task: Any, *args: Any) -> None:
        self.gradients = [p.grad.clone() for p in task.parameters() if p.grad is not None]


def clipped(cohort: Path, folder: Path, **options: Any) -> torch.Tensor:
    torch.manual_seed(0)
    record = GradientRecord()
    runner = trainer(folder, record, LastCheckpoint(), steps=1, limit_val_batches=0, **options)
    runner.fit(Fused(BACKBONE), datamodule=segmentation_data(cohort))
    return torch.cat([gradient.flatten() for gradient in record.gradients])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_of_a_fused_optimiser_are_clipped_by_norm(
    cohort: Path, tmp_path: Path, precision: str
) -> None:
    plain = clipped(cohort, tmp_path / "plain", precision=precision)
    short = clipped(cohort, tmp_path / "short", precision=precision, gradient_clip_val=0.01)
    assert plain.norm() > 0.02
    torch.testing.assert_close(short, plain * (0.01 / plain.norm()), rtol=1e-2, atol=1e-5)


def test_gradients_of_a_fused_optimiser_are_clipped_by_value(cohort: Path, tmp_path: Path) -> None:
    plain = clipped(cohort, tmp_path / "plain")
    options: dict[str, Any] = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}
    short = clipped(cohort, tmp_path / "short", **options)
    torch.testing.assert_close(short, plain.clamp(-1e-3, 1e-3))
