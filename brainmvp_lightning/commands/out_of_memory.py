"""What to change after memory ran out, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from brainmvp_lightning.commands.plan_hardware import free_memory
from brainmvp_lightning.commands.plan_inputs import Inputs, read_inputs
from brainmvp_lightning.commands.plan_memory import GIB, MemoryModel
from brainmvp_lightning.commands.plan_settings import changes, first_that_fits, smaller_changes
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.tasks.rehearsal import Setting

TARGET = 0.9
"""Share of the memory, or of what was too much, that a change must stay below."""

_WORDS = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "_STATUS_ALLOC_FAILED",
)
_OF_NCCL = re.compile(r"Cuda failure (\d+ )?'out of memory'")  # older versions give no number


class MemoryFullError(RuntimeError):
    """Memory ran out; the message is one sentence with the smallest change that fits."""


@dataclass(frozen=True)
class Run:
    """A run that memory did not suffice for.

    Attributes:
        config: Of the command.
        build: Makes task and data module anew.
        device: Of this process.
        world_size: Processes of the run.
    """

    config: Any
    build: Callable[[], tuple[Task, Any]]
    device: torch.device
    world_size: int


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, of a GPU or of the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    return any(words in text for words in _WORDS) or _OF_NCCL.search(text) is not None


def remedy_for_training(run: Run) -> str:
    """Return what is full, and the smallest change that fits by the model of ``brainmvp plan``."""
    try:
        change, note = _smallest_change(run)
    except (ValueError, TypeError, OSError, RuntimeError, MemoryError) as error:
        # The first sentence must come, even if there is not the memory left to count.
        change, note = _rule_of_thumb(run), f"a rule of thumb, for {_first_line(error)}"
    return (
        f"{_full(run)} with {_described(run)}; {change} ({note}); then go on with --ckpt_path last"
    )


def remedy_for_volumes(run: Run) -> str:
    """Return what is full in a validation, test or prediction, and the next thing to lower."""
    options = run.config.model.init_args
    window = options.get("window")
    windows = window.get("batch", 1) if window is not None else 1
    if window is None:
        change = "data.batch_size 1"
    elif windows > 1:
        change = f"model.window.batch {windows // 2} takes fewer windows at a time"
    elif window.get("accumulate") != "cpu" and run.device.type != "cpu":
        change = "model.window.accumulate cpu keeps the sums of a volume off the GPU"
    else:
        change = "a smaller data.crop_size takes smaller windows"
    return f"{_full(run)}; {change}"


def _smallest_change(run: Run) -> tuple[str, str]:
    task, datamodule = run.build()
    inputs = read_inputs(run.config, task, datamodule)
    own = replace(inputs.setting, processes=run.world_size)
    inputs = replace(inputs, effective=own.effective_batch)
    kind = run.device.type
    choice = inputs.choice(own, task, "bf16-mixed" if kind == "cuda" else None)
    model = MemoryModel(lambda: run.build()[0], inputs.data, kind, inputs.effective)
    memory = _memory(run.device)
    # That memory ran out is a fact, whatever the model says of what there was.
    too_much = model.reserve + TARGET * model.count(own).peak
    limit = min(TARGET * memory, too_much)
    found = first_that_fits(smaller_changes(choice), model.exact, limit)
    if found is None:
        return (
            "no batch, precision or crop that keeps the effective batch fits; use a smaller "
            "network or more memory",
            f"{limit / GIB:.2f} GiB may be used",
        )
    words = " with ".join(changes(own, found))
    return _with_reason(words, own, found, inputs), (
        f"about {model.exact(found) / GIB:.2f} of {memory / GIB:.1f} GiB by the model of "
        "brainmvp plan"
    )


def _with_reason(words: str, own: Setting, found: Setting, inputs: Inputs) -> str:
    if found.crop_size != own.crop_size:
        return f"{words} fits, though the network then sees less at a time"
    if found.batch_size != own.batch_size:
        return f"{words} keeps the effective batch of {inputs.effective}"
    if found.precision != own.precision:
        return f"{words} halves most activations"
    return f"{words} computes activations again rather than keep them"


def _rule_of_thumb(run: Run) -> str:
    options, trainer = run.config.data.init_args, run.config.trainer
    batch_size, accumulation = options.batch_size, trainer.accumulate_grad_batches or 1
    if batch_size % 2 == 0:
        return (
            f"data.batch_size {batch_size // 2} with trainer.accumulate_grad_batches "
            f"{2 * accumulation} keeps the effective batch"
        )
    if batch_size > 1:
        return (
            f"data.batch_size 1 with trainer.accumulate_grad_batches {batch_size * accumulation} "
            "keeps the effective batch"
        )
    return "model.checkpointing true computes activations again rather than keep them"


def _described(run: Run) -> str:
    options = run.config.data.init_args
    crop = " x ".join(map(str, options.crop_size))
    return f"data.batch_size {options.batch_size} and crops of {crop}"


def _full(run: Run) -> str:
    if run.device.type == "cuda":
        total = torch.cuda.get_device_properties(run.device).total_memory / GIB
        return f"the GPU's {total:.1f} GiB are full"
    return f"the memory of the machine is full ({free_memory() / GIB:.1f} GiB can be had now)"


def _memory(device: torch.device) -> float:
    """Return the bytes this process can have: others may hold a part of the GPU."""
    if device.type != "cuda":
        return free_memory()
    free, _ = torch.cuda.mem_get_info(device)
    return float(free + torch.cuda.memory_reserved(device))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
