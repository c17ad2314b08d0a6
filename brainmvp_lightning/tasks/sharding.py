"""Weights, gradients and moments spread over all processes (FSDP2), for any task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.stage import Stage
from brainmvp_lightning.heads.base import LossHead
from brainmvp_lightning.inference.model import FineTunedModel

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class FullySharded(ModelParallelStrategy):
    """FSDP2 over all processes, with checkpoints that are those of any other run.

    Lightning's own strategy wants the number of processes repeated, writes folders of shards, and
    mixes up the moments of a checkpoint that was written without it: it counts parameters in the
    order of the network, optimisers in that of their groups. In a validation, a test or a
    prediction the weights are whole in each process, because volumes of different sizes take
    different numbers of windows, so that processes could not gather weights together.

    Args:
        process_group_backend: ``"nccl"`` or ``"gloo"``; by default that of the accelerator.
    """

    def __init__(self, process_group_backend: str | None = None) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )

    def setup_environment(self) -> None:
        """Put all processes on the mesh."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return whole tensors on the first process, nothing elsewhere; all must call this."""
        return whole_state(self._task)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return whole moments on the first process, numbered as a plain optimiser's."""
        optimizer = getattr(optimizer, "_optimizer", optimizer)
        state: dict[str, Any] = get_optimizer_state_dict(self._task, optimizer, options=WHOLE)
        return _numbered(state) if state else state

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """No: a task that builds its network from a checkpoint does so before it is spread."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Yes, with `load_optimizer_state_dict`."""
        return True

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Open a file that any strategy wrote; each process reads of it what it needs."""
        path = Path(self.broadcast(checkpoint_path))
        content: dict[str, Any] = torch.load(
            path, map_location="cpu", mmap=True, weights_only=weights_only
        )
        return content

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take the parts of this process from the whole tensors of a checkpoint."""
        shard(self._task, self)  # the network may have been built for this checkpoint just now
        self._task.load_state_dict(_spread(checkpoint["state_dict"], self._task), strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the parts of this process from the moments of a checkpoint."""
        states = checkpoint["optimizer_states"]
        options = StateDictOptions(full_state_dict=True)
        for optimizer, state in zip(self.optimizers, states, strict=True):
            named = _named(state, optimizer, self._task)
            set_optimizer_state_dict(self._task, optimizer, named, options=options)

    def on_validation_start(self) -> None:
        """Make the weights whole in each process."""
        gather_weights(self._task)

    def on_validation_end(self) -> None:
        """Spread them again."""
        spread_weights(self._task)

    def on_test_start(self) -> None:
        """Make the weights whole in each process."""
        gather_weights(self._task)

    def on_test_end(self) -> None:
        """Spread them again."""
        spread_weights(self._task)

    def on_predict_start(self) -> None:
        """Make the weights whole in each process."""
        gather_weights(self._task)

    def on_predict_end(self) -> None:
        """Spread them again."""
        spread_weights(self._task)

    @property
    def _task(self) -> pl.LightningModule:
        assert self.lightning_module is not None
        return self.lightning_module


def shard(task: pl.LightningModule, strategy: FullySharded) -> None:
    """Spread the weights of a task; once, further calls do nothing.

    Blocks, stages, backbone and heads are gathered one at a time. What belongs to none of them,
    such as templates, which a step reads in few places only, stays whole in each process; see
    `average_whole_gradients`.

    Args:
        task: Must run the named parts by calling them.
        strategy: Says over which processes.
    """
    if any(isinstance(module, FSDPModule) for module in task.modules()):
        return
    if strategy._layer_sync is not None:  # Lightning leaves it undone with this strategy
        strategy._layer_sync.apply(task)
    mesh = strategy.device_mesh["data_parallel"]
    task.to(strategy.root_device)
    _share_start(task)
    for unit in units(task):
        policy = policy_of(unit, str(strategy.precision_plugin.precision), mesh.device_type)
        fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def units(task: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that are gathered one at a time, inner ones first, each once."""
    seen: set[nn.Module] = set()
    for unit in _candidates(list(task.modules())):
        if unit not in seen and any(True for _ in unit.parameters()):
            seen.add(unit)
            yield unit


def _candidates(modules: list[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        if isinstance(module, Stage):
            yield from module.blocks
            yield module
    yield from (module for module in modules if isinstance(module, Backbone))
    for module in modules:
        if isinstance(module, LossHead):
            yield from _parts_of(module)
    yield from (module for module in modules if isinstance(module, FineTunedModel))


def _parts_of(head: LossHead) -> list[nn.Module]:
    """Return what a head calls: two heads may have one decoder, which only they call."""
    parts = list(head.children())
    are_called = not any(isinstance(part, (nn.ModuleList, nn.ModuleDict)) for part in parts)
    has_own = any(True for _ in head.parameters(recurse=False))
    return parts if are_called and not has_own else [head]


def policy_of(unit: nn.Module, precision: str, device_type: str = "cuda") -> MixedPrecisionPolicy:
    """Return the numbers in which a unit is gathered and its gradient reduced.

    Gradients are always reduced in float32. In ``bf16-mixed`` matrices are rounded to bfloat16
    before they are multiplied anyway, so that is what GPUs send; batch norms, whose statistics are
    float32, want weights of the same kind.

    Raises:
        ValueError: For 16 bits with a scaled loss, which would have to look at all processes.
    """
    if precision.startswith("16"):
        raise ValueError(
            f"trainer.precision {precision} scales the loss, which does not suit weights that are "
            "spread over processes; use bf16-mixed or 32-true"
        )
    sends_bfloat16 = precision == "bf16-mixed" and device_type == "cuda"
    if not sends_bfloat16 or any(isinstance(module, _BatchNorm) for module in unit.modules()):
        return MixedPrecisionPolicy(reduce_dtype=torch.float32)
    return MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
    )


def is_sharded(task: nn.Module) -> bool:
    """Tell whether the weights of a task are spread over processes."""
    return any(isinstance(module, FSDPModule) for module in task.modules())


def gather_weights(task: nn.Module) -> None:
    """Make weights whole in each process until `spread_weights`; all processes must call this.

    Running statistics, which each process takes from its own batches, become those of the first.
    """
    with torch.inference_mode(False), torch.no_grad():
        for buffer in _statistics(task):
            dist.broadcast(buffer, src=0)
        for module in task.modules():
            if isinstance(module, FSDPModule):
                module.set_reshard_after_forward(False, recurse=False)
                module.unshard()


def spread_weights(task: nn.Module) -> None:
    """Undo `gather_weights`."""
    for module in task.modules():
        if isinstance(module, FSDPModule):
            module.set_reshard_after_forward(True, recurse=False)
            module.reshard()


def whole_state(task: nn.Module) -> dict[str, Any]:
    """Return the state dict of a task with whole tensors.

    If they are spread, all processes must call this, and the others than the first get nothing.
    """
    if not is_sharded(task):
        return task.state_dict()
    state: dict[str, Any] = get_model_state_dict(task, options=WHOLE)
    return state


@torch.no_grad()
def average_whole_gradients(task: nn.Module) -> None:
    """Average the gradients of what is not spread over all processes, which must all call this."""
    gradients = [p.grad for p in _whole_parameters(task) if p.grad is not None]
    works = [dist.all_reduce(gradient, async_op=True) for gradient in gradients]
    for work, gradient in zip(works, gradients, strict=True):
        work.wait()
        gradient.div_(dist.get_world_size())


@torch.no_grad()
def clip_norm(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Limit the norm of all gradients together, spread and whole ones.

    torch takes one kind at a time.

    Args:
        parameters: Those of the optimiser.
        largest: What the norm is at most afterwards.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    spread = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    whole = [g for g in gradients if not isinstance(g, DTensor)]
    squares = _sum_of_squares(spread)
    if dist.is_initialized():
        squares = squares.to((spread or whole)[0].device)
        dist.all_reduce(squares)
    norm = (squares + _sum_of_squares(whole).to(squares)).sqrt()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
    for gradient in (*spread, *whole):
        gradient.mul_(factor.to(gradient))


def _sum_of_squares(tensors: list[Tensor]) -> Tensor:
    parts = [tensor.float().square().sum() for tensor in tensors]
    return torch.stack(parts).sum() if parts else torch.zeros(())


def _share_start(task: nn.Module) -> None:
    """Let all processes begin with what the first one has, as DDP does."""
    with torch.no_grad():
        for tensor in chain(task.parameters(), task.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def _whole_parameters(task: nn.Module) -> Iterator[nn.Parameter]:
    return (p for p in task.parameters() if p.requires_grad and not isinstance(p, DTensor))


def _statistics(task: nn.Module) -> Iterator[Tensor]:
    for module in task.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            yield from module.buffers()


def _spread(state: dict[str, Any], task: nn.Module) -> dict[str, Any]:
    """Turn whole tensors into parts where `task` has parts.

    torch's own function for that leaves out the second name of a decoder that two heads share.
    """
    spread = dict(state)
    for name, own in task.state_dict().items():
        if isinstance(own, DTensor) and name in state:
            whole = state[name].to(own.device)
            spread[name] = distribute_tensor(whole, own.device_mesh, own.placements)
    return spread


def _numbered(state: dict[str, Any]) -> dict[str, Any]:
    """Give an optimiser's parameters numbers in the order of its groups, instead of names."""
    names = chain.from_iterable(group["params"] for group in state["param_groups"])
    number = {name: place for place, name in enumerate(names)}
    return {
        "state": {number[name]: moments for name, moments in state["state"].items()},
        "param_groups": [
            {**group, "params": [number[name] for name in group["params"]]}
            for group in state["param_groups"]
        ],
    }


def _named(state: dict[str, Any], optimizer: Optimizer, task: nn.Module) -> dict[str, Any]:
    """Undo `_numbered`, for the groups of an optimiser of `task`."""
    name_of = {parameter: name for name, parameter in task.named_parameters()}
    names: dict[int, str] = {}
    groups = []
    for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True):
        here = [name_of[parameter] for parameter in group["params"]]
        names |= dict(zip(saved["params"], here, strict=True))
        groups.append({**saved, "params": here})
    moments = {names[number]: value for number, value in state["state"].items()}
    return {"state": moments, "param_groups": groups}
