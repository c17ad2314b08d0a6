"""Clipping of gradients that leaves AdamW fused."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer


def clip_gradients(
    task: pl.LightningModule, optimizer: Optimizer, value: float | None, algorithm: str | None
) -> None:
    """Clip the gradients of an optimiser, as ``trainer.gradient_clip_val`` asks.

    Lightning refuses to clip what a fused optimiser steps, which in 16-mixed precision still is
    scaled by the loss scaler. In all other precisions gradients are what they seem, so they are
    clipped here; those that Lightning takes are left to it.

    Args:
        task: Whose trainer clips.
        optimizer: Whose gradients.
        value: Greatest norm of all gradients, or greatest size of each number; None or 0 for no
            clipping.
        algorithm: ``"norm"`` or ``"value"``; None for the norm.
    """
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    if not value or not is_fused or task.trainer.precision == "16-mixed":
        task.clip_gradients(optimizer, value, algorithm)
        return
    parameters: list[Any] = [p for group in optimizer.param_groups for p in group["params"]]
    if algorithm == "value":
        # One by one where weights are spread over processes: torch takes one kind of tensor.
        for parameter in parameters:
            clip_grad_value_(parameter, value)
    else:
        clip_grad_norm_(parameters, value)
