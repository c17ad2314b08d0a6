"""A training step outside of a trainer, on noise.

The task is the real one: its `setup`, `training_step` and optimiser are called as a trainer would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from brainmvp_lightning.batches import DataDescription, LabelledDescription, Size
from brainmvp_lightning.tasks.base import Task

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
PRECISIONS = ("32-true", *MIXED)


@dataclass(frozen=True)
class Setting:
    """How a step is run."""

    batch_size: int
    """Studies in a batch of one process."""
    accumulation: int = 1
    """Batches between two steps of the optimiser."""
    processes: int = 1
    crop_size: Size = (96, 96, 96)
    precision: str = "32-true"
    checkpointing: bool = False
    compile: bool | str = False

    @property
    def effective_batch(self) -> int:
        """Studies in a step of the optimiser."""
        return self.batch_size * self.accumulation * self.processes


@dataclass(frozen=True)
class Data:
    """What a rehearsal must know of the data.

    Attributes:
        description: Of the data module.
        rows_per_study: Crops of the batch for each study.
        seed: Of the data module.
    """

    description: DataDescription
    rows_per_study: int = 1
    seed: int = 0

    def describe(self) -> DataDescription:
        """Return the description, as the data module does."""
        return self.description

    def train_dataloader(self) -> range:
        """Return something with a length; the schedule of the learning rate asks for it."""
        return range(1000)

    def suited(self, setting: Setting) -> Data:
        """Return the data as `setting` would have them."""
        description = replace(
            self.description,
            crop_size=setting.crop_size,
            targets_per_step=setting.batch_size * self.rows_per_study,
        )
        return replace(self, description=description)


def run_steps(
    task: Task, data: Data, setting: Setting, device: torch.device, *, num_warmups: int, num: int
) -> list[float]:
    """Do steps for real, on images of noise; return the seconds of each step of the optimiser.

    Args:
        task: A new one; its network is built if it is not yet, and learns.
        data: What is known of the data.
        setting: How steps are run.
        device: Where.
        num_warmups: Steps that are not returned, at least one of which has all to set up.
        num: Steps that are.
    """
    prepare(task, data, setting, device.type)
    task.to(device)
    optimizer = make_optimizer(task)
    batch = make_batch(data.suited(setting), setting, device)
    taken = []
    for _ in range(num_warmups + num):
        _wait(device)
        start = time.perf_counter()
        for _ in range(setting.accumulation):
            with autocast_step(setting, device.type):
                loss = loss_of(task, batch)
            loss.backward()
            del loss
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)
        taken.append(time.perf_counter() - start)
    return taken[num_warmups:]


def make_batch(data: Data, setting: Setting, device: torch.device) -> dict[str, Any]:
    """Return a full batch of noise, such as the data module would hand out.

    All images have a partner, and all modalities are there.
    """
    description = data.description
    num = setting.batch_size * data.rows_per_study
    labelled = isinstance(description, LabelledDescription)
    channels = len(description.modalities) if labelled else 1

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    def image() -> Tensor:
        return torch.rand(num, channels, *description.crop_size, device=device)

    batch: dict[str, Any] = {
        "image": image(),
        "origin": zeros(num, 3) - torch.tensor(description.crop_size, device=device) // 2,
        "key": zeros(num) + torch.arange(num, device=device),
        "weight": torch.full((num,), 1 / num, device=device),
        "num_studies": setting.batch_size,
        "study": ["noise"] * num,
        "faults": [],
    }
    if not isinstance(description, LabelledDescription):
        rows = torch.arange(num, device=device)
        more = {"partner": image(), "partner_rows": rows, "modality": zeros(num)}
        return {**batch, **more, "partner_modality": zeros(num), "capacity": num}
    masks = description.num_outputs if description.overlapping else 1
    shape = (num, masks, *description.crop_size)
    batch["label"] = torch.zeros(shape, dtype=torch.uint8, device=device)
    batch["present"] = torch.ones(num, channels, dtype=torch.bool, device=device)
    return {**batch, "target_class": zeros(num), "start": zeros(num, 3)}


def prepare(task: Task, data: Data, setting: Setting, device: str) -> None:
    """Give a task what it asks its trainer for, and let it set itself up."""
    known: Any = task
    known.checkpointing, known.compile_with = setting.checkpointing, setting.compile
    trainer: Any = SimpleNamespace(
        datamodule=data.suited(setting),
        strategy=SimpleNamespace(root_device=torch.device(device)),
        world_size=setting.processes,
        accumulate_grad_batches=setting.accumulation,
        precision=setting.precision,
        gradient_clip_val=None,
        max_epochs=1,
        max_steps=-1,
        limit_train_batches=1.0,
        log_every_n_steps=2,
        current_epoch=0,
        global_step=0,
        predicting=False,
    )
    known._trainer = trainer
    for name in ("log", "log_dict", "report_faults", "check_finite"):  # all need a real trainer
        object.__setattr__(task, name, _do_nothing)
    task.train()
    task.setup("fit")


def loss_of(task: Task, batch: dict[str, Any]) -> Tensor:
    """Return the loss of a training step."""
    loss: Any = task.training_step(batch, 1)  # a step after which nothing is logged
    return loss if isinstance(loss, Tensor) else loss["loss"]


def _do_nothing(*args: Any, **options: Any) -> None:  # noqa: ANN401 - as what it stands for
    del args, options


def make_optimizer(task: Task) -> torch.optim.Optimizer:
    """Return the optimiser of a task that is prepared."""
    configured: Any = task.configure_optimizers()
    optimizer: torch.optim.Optimizer = configured["optimizer"]
    return optimizer


@contextmanager
def autocast_step(setting: Setting, device: str) -> Iterator[None]:
    """Compute in the precision of a setting."""
    dtype = MIXED.get(setting.precision)
    context: AbstractContextManager[Any] = nullcontext()
    if dtype is not None:
        # Half precision of a CPU is that of bfloat16: of the same size.
        context = torch.autocast(device, torch.bfloat16 if device == "cpu" else dtype)
    with context:
        yield


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
