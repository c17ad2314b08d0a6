"""AdamW with warm-up and cosine decay, as all tasks optimise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from torch.optim.lr_scheduler import LambdaLR

from brainmvp_lightning.methods.learned_windows import LearnedWindows
from brainmvp_lightning.tasks.windows import AdamWWithWindows

EPS = 1e-8  # torch's default, named because windows need it too


@dataclass(frozen=True)
class AdamWOptions:
    """AdamW with linear warm-up and cosine decay, per step.

    Attributes:
        learning_rate: Peak learning rate (paper: 3e-4).
        weight_decay: Decoupled weight decay (paper: 1e-5).
        betas: Decay rates of the two moments.
        warmup_epochs: Epochs of linear warm-up (paper: none).
        final_fraction: Learning rate at the end, as a fraction of the peak.

    Source:
        BrainMVP, section 4.1.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_epochs: float = 0.0
    final_fraction: float = 0.0


def warmup_cosine(step: int, *, num_steps: int, warmup_steps: int, final_fraction: float) -> float:
    """Return the learning rate of `step` as a fraction of its peak.

    Args:
        step: Optimiser steps done.
        num_steps: Optimiser steps of the whole run.
        warmup_steps: Steps of linear warm-up; step 0 then has one part of `warmup_steps`.
        final_fraction: Fraction at the end of the run.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))


def planned_steps(trainer: pl.Trainer) -> int:
    """Return the optimiser steps of a whole run.

    Unlike Lightning's ``estimated_stepping_batches`` this does not start the loader's workers,
    which at that time would not know yet where in an epoch a resumed run is.
    """
    epochs = 1 if trainer.max_epochs is None else trainer.max_epochs
    limits = [] if epochs < 0 else [steps_of_epoch(trainer) * max(1, epochs)]
    if trainer.max_steps >= 0:
        limits.append(trainer.max_steps)
    return min(limits, default=0)


def steps_of_epoch(trainer: pl.Trainer) -> int:
    """Return the optimiser steps of an epoch."""
    datamodule: Any = getattr(trainer, "datamodule", None)
    num_batches = len(datamodule.train_dataloader())
    limit = trainer.limit_train_batches
    if isinstance(limit, int):
        num_batches = min(num_batches, limit)
    elif limit is not None:
        num_batches = int(num_batches * limit)
    return math.ceil(num_batches / trainer.accumulate_grad_batches)


def configure_adamw(
    task: pl.LightningModule,
    groups: Iterable[dict[str, Any]],
    options: AdamWOptions,
    windows: Iterable[LearnedWindows] = (),
) -> dict[str, Any]:
    """Return Lightning's optimiser configuration for parameter groups.

    A group may set its own ``lr`` and ``weight_decay``; the schedule scales all alike.

    Args:
        task: Whose trainer says how long the run is.
        groups: Parameter groups of AdamW.
        options: Of AdamW and of the schedule.
        windows: What learns by windows; their volumes are in the groups.
    """
    optimizer = AdamWWithWindows(
        list(groups),
        windows,
        lr=options.learning_rate,
        betas=options.betas,
        eps=EPS,
        weight_decay=options.weight_decay,
        # Gradients that a loss scaler has scaled cannot be clipped where the step is fused.
        fused=not (task.trainer.gradient_clip_val and task.trainer.precision == "16-mixed"),
    )
    num_steps = planned_steps(task.trainer)
    warmup_steps = round(options.warmup_epochs * steps_of_epoch(task.trainer))

    def fraction(step: int) -> float:
        return warmup_cosine(
            step,
            num_steps=num_steps,
            warmup_steps=warmup_steps,
            final_fraction=options.final_fraction,
        )

    schedule = {"scheduler": LambdaLR(optimizer, fraction), "interval": "step"}
    return {"optimizer": optimizer, "lr_scheduler": schedule}
