"""What a training step costs, counted on tensors without voxels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.autograd.graph import _engine_run_backward

from brainmvp_lightning.batches import Size
from brainmvp_lightning.methods.learned_windows import LearnedWindows
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.tasks.counting import (
    GPURules,
    LiveBytes,
    Work,
    count_saved,
    storages_of,
)
from brainmvp_lightning.tasks.rehearsal import (
    Data,
    Setting,
    autocast_step,
    loss_of,
    make_batch,
    make_optimizer,
    prepare,
)


@dataclass(frozen=True)
class StepCost:
    """Bytes and operations of a step on one process."""

    weights: int
    templates: int
    gradients: int
    moments: int
    """All that the optimiser keeps."""
    batch: int
    activations: int
    """What lives from the forward to the backward pass."""
    saved: int
    """Of the activations, what autograd saved by itself; all but what checkpointing keeps."""
    peak: int
    """Most bytes alive at a time."""
    works: tuple[Work, ...]
    """Operations of one batch, forward and backward."""
    update: tuple[Work, ...]
    """Operations of the optimiser, once a step."""

    @property
    def passing(self) -> int:
        """Bytes of the peak that are neither kept nor activations: gradients on their way, sums."""
        return self.peak - (
            self.weights + self.templates + self.moments + self.batch + self.activations
        )


def count_step(task: Task, data: Data, setting: Setting, device: str) -> StepCost:
    """Count what the second step of a training costs, without computing it.

    Args:
        task: A new one, which is changed; its network is built if it is not yet.
        data: What is known of the data.
        setting: How the step is run; compiled or not counts alike.
        device: ``"cuda"`` or ``"cpu"``, whether there is one or not.

    Raises:
        ValueError: If the setting does not suit the task, or its step depends on values.
    """
    prepare(task, data, replace(setting, compile=False), device)
    try:
        return _count(task, data, setting, device)
    except (
        DataDependentOutputException,
        DynamicOutputShapeException,
        UnsupportedOperatorException,
    ) as error:
        raise ValueError(
            f"the step of {type(task).__name__} asks for the values of tensors ({error}), which "
            "counting does not compute"
        ) from error


def _count(task: Task, data: Data, setting: Setting, device: str) -> StepCost:
    rules = GPURules() if device == "cuda" else nullcontext()
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        _replace_tensors(task)
        batch = make_batch(data.suited(setting), setting, torch.device("cpu"))
        before = live.now
        optimizer = make_optimizer(task)
        windows = [_AllWindows(each, setting) for each in getattr(optimizer, "windows", ())]
        gradients = _first_step(task, batch, optimizer, setting, rules)
        kept = gradients if _keeps_gradients(setting) else 0
        moments = live.now - before - kept
        earlier = [each.of_earlier_batches() for each in windows]
        live.reset_peak()
        start = live.now
        own = frozenset(storages_of(_tensors_of(task))) | frozenset(storages_of(_in(batch)))
        with rules:  # in the backward pass too, where checkpointing computes again
            with autocast_step(setting, "cpu"), count_saved(own) as saved:
                loss = loss_of(task, batch)
            activations = live.now - start
            _backward(loss)
        num_works = len(live.works)
        optimizer.step()
        del earlier
        templates = _template_bytes(task)
        in_batch = sum(storages_of(_in(batch)).values())
    return StepCost(
        weights=sum(storages_of(_tensors_of(task)).values()) - templates,
        templates=templates,
        gradients=gradients,
        moments=moments,
        batch=in_batch,
        activations=activations,
        saved=saved.total,
        peak=live.peak,
        works=tuple(live.works[:num_works]),
        update=tuple(live.works[num_works:]),
    )


def _first_step(
    task: Task,
    batch: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    setting: Setting,
    rules: AbstractContextManager[Any],
) -> int:
    """Do the step that makes the moments; return the bytes of gradients, kept or not."""
    with rules:
        with autocast_step(setting, "cpu"):
            loss = loss_of(task, batch)
        _backward(loss)
    gradients = sum(p.grad.nbytes for p in task.parameters() if p.grad is not None)
    optimizer.step()
    if not _keeps_gradients(setting):
        optimizer.zero_grad()
    return gradients


class _AllWindows:
    """Lets the optimiser have the windows of all processes and batches, of which one is counted.

    Args:
        windows: Templates that learn by windows.
        setting: Says how many batches there are in a step.
    """

    def __init__(self, windows: LearnedWindows, setting: Setting) -> None:
        self._exchange, self._setting = windows._exchange, setting
        self._num_bytes = 0
        object.__setattr__(windows, "_exchange", self._of_all)

    def of_earlier_batches(self) -> Tensor:
        """Return as many bytes as batches accumulated before keep: windows and gradients."""
        return torch.empty(
            2 * (self._setting.accumulation - 1) * self._num_bytes, dtype=torch.uint8
        )

    def _of_all(self, taken: list[Any], size: Size) -> tuple[Tensor, Tensor]:
        numbers, gradients = self._exchange(taken, size)
        self._num_bytes = sum(part.crops.nbytes for part in taken)
        of_all = self._setting.accumulation * self._setting.processes
        # Where a run is counted that failed, its processes may be there already.
        already = len(numbers) // sum(len(part.numbers) for part in taken)
        times = max(1, of_all // already)
        return numbers.repeat(times, 1), gradients.repeat(times, 1)


def num_flops(works: tuple[Work, ...]) -> int:
    """Return the operations of products together."""
    return sum(work.flops for work in works)


def seconds_of(works: tuple[Work, ...], flops_per_s: float, bytes_per_s: float) -> float:
    """Return the least time of operations one after the other, each bound by one of two rates."""
    return math.fsum(max(w.flops / flops_per_s, w.traffic / bytes_per_s) for w in works)


def _backward(loss: Tensor) -> None:
    """Do the backward pass as `Tensor.backward`, which would be one function to `GPURules`.

    Modes sleep inside of the functions that they are asked about, but must see what checkpointing
    computes again.
    """
    _engine_run_backward(
        (loss,),
        (torch.ones_like(loss),),
        False,
        False,
        (),
        allow_unreachable=True,
        accumulate_grad=True,
    )


def _keeps_gradients(setting: Setting) -> bool:
    """Tell whether gradients are there during the forward pass: of other batches, or of DDP."""
    return setting.accumulation > 1 or setting.processes > 1


def _replace_tensors(module: nn.Module) -> None:
    """Replace parameters and buffers by ones of the current mode, without reading them."""
    known: dict[int, Tensor] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = known.setdefault(id(tensor), _empty_like(tensor))  # type: ignore[assignment]


def _empty_like(tensor: Tensor) -> Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


def _tensors_of(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _in(batch: dict[str, Any]) -> Iterator[Tensor]:
    yield from (value for value in batch.values() if isinstance(value, Tensor))


def _template_bytes(task: Task) -> int:
    """Return the bytes of templates, which learn or not, in whatever part holds them."""
    pairs = [*task.named_parameters(), *task.named_buffers()]
    tensors = [tensor for name, tensor in pairs if ".templates." in f".{name}" and tensor.ndim > 3]
    return sum(storages_of(iter(tensors)).values())
