"""Whether templates learn by windows, and the optimiser that lets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn

from brainmvp_lightning.batches import DataDescription
from brainmvp_lightning.methods.learned_windows import LearnedWindows
from brainmvp_lightning.methods.templates import ModalityTemplates
from brainmvp_lightning.methods.windowed_adamw import betas_suit


class AdamWWithWindows(torch.optim.AdamW):
    """AdamW over parameters, some of which learn by windows; saved like any AdamW.

    Args:
        groups: Parameter groups.
        windows: What learns by windows; their volumes are in the groups too, which have their
            learning rates.
        options: Those of AdamW.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        windows: Iterable[LearnedWindows] = (),
        **options: Any,  # noqa: ANN401 - handed through
    ) -> None:
        super().__init__(groups, **options)
        self.windows = tuple(windows)

    def step(self, closure: Callable[[], float] | None = None) -> Any:  # noqa: ANN401 - torch's
        """Do a step; all processes must call this."""
        loss = super().step(closure)
        for windows in self.windows:
            windows.step(self._group_of(windows)["lr"])
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state that AdamW would have."""
        for windows in self.windows:
            if windows.optimizer.num_steps > 0:
                self.state[windows.volumes] = windows.state()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state of AdamW, with windows or without."""
        super().load_state_dict(state_dict)
        for windows in self.windows:
            state = self.state.pop(windows.volumes, None)
            if state:
                windows.restore(state)

    def _group_of(self, windows: LearnedWindows) -> dict[str, Any]:
        groups: list[dict[str, Any]] = self.param_groups
        return next(g for g in groups if any(p is windows.volumes for p in g["params"]))


def choose_updates(
    task: pl.LightningModule,
    templates: ModalityTemplates,
    data: DataDescription,
    *,
    weight_decay: float,
    betas: tuple[float, float],
) -> bool:
    """Decide whether templates learn by windows, before the network is distributed.

    Args:
        task: Has the templates; with windows, DDP is told to leave them alone.
        templates: What learns.
        data: Says how many crops a step has at most.
        weight_decay: That of the templates.
        betas: Those of AdamW.

    Raises:
        ValueError: If windows were asked for and something else forbids them.
    """
    templates.learn_densely()
    ignore_in_ddp(task, templates.values, is_ignored=False)
    if templates.update == "dense":
        return False
    obstacle = _obstacle(task.trainer, weight_decay, betas)
    if templates.update == "windowed":
        if obstacle:
            raise ValueError(
                f"templates.update is windowed, which does not go with {obstacle}; set it to dense "
                "or auto"
            )
    elif obstacle or not _is_worthwhile(task.trainer, templates, data):
        return False
    ignore_in_ddp(task, templates.values)
    return True


def ignore_in_ddp(task: nn.Module, parameter: nn.Parameter, *, is_ignored: bool = True) -> None:
    """Tell DDP to leave a parameter alone, or not to."""
    names = {name for name, known in task.named_parameters() if known is parameter}
    ignored = set(getattr(task, "_ddp_params_and_buffers_to_ignore", ())) - names
    chosen = sorted(ignored | names if is_ignored else ignored)
    task._ddp_params_and_buffers_to_ignore = chosen  # type: ignore[assignment]


def _obstacle(trainer: pl.Trainer, weight_decay: float, betas: tuple[float, float]) -> str | None:
    """Return what forbids windows, if anything does."""
    if weight_decay:
        return f"templates.weight_decay {weight_decay}, which moves all voxels"
    if not betas_suit(betas):
        return f"betas {betas}, of which the first is not below the root of the second"
    if trainer.gradient_clip_val:
        return f"trainer.gradient_clip_val {trainer.gradient_clip_val}"
    if trainer.precision not in ("32-true", "bf16-mixed"):
        return f"trainer.precision {trainer.precision}"
    if isinstance(trainer.strategy, ModelParallelStrategy):
        return "weights that are spread over processes"
    return None


def _is_worthwhile(
    trainer: pl.Trainer, templates: ModalityTemplates, data: DataDescription
) -> bool:
    """Tell whether windows move less data than passes over whole templates.

    On a single CPU they do not: a fused pass over 71 M voxels took a third of the time of three
    windows of 96^3 there. Exact ``"minmax"`` reads whole templates anyway.
    """
    on_gpu = trainer.strategy.root_device.type == "cuda"
    if templates.rescale == "minmax" or not (on_gpu or trainer.world_size > 1):
        return False
    x, y, z = data.crop_size
    windows = data.targets_per_step * trainer.world_size * trainer.accumulate_grad_batches
    return 0 < 2 * windows * x * y * z <= templates.values.numel()
