"""Pre-training with any backbone and any SSL method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import (
    DataDescription,
    LabelledDescription,
    StepInfo,
    StudyBatch,
)
from brainmvp_lightning.methods.base import DataNeeds, LossTerms, SSLMethod
from brainmvp_lightning.tasks.acceleration import accelerate
from brainmvp_lightning.tasks.base import SetupError, Task
from brainmvp_lightning.tasks.optimisation import (
    EPS,
    AdamWOptions,
    configure_adamw,
    planned_steps,
)
from brainmvp_lightning.tasks.windows import choose_updates


class PretrainTask(Task):
    """Runs a method's views and losses, logs every term, optimises and validates.

    Args:
        backbone: Builds the network for a number of input channels; pre-training uses one.
        method: Builds the SSL method for a backbone.
        optimizer: Options of AdamW and its schedule.
        compile: Whether to compile blocks and parts of decoders with `torch.compile`; the name of
            a backend of it instead of true takes that one. The first steps take minutes longer.
        checkpointing: Whether blocks of the backbone are computed again in the backward pass, which
            takes less memory and more time.

    Raises:
        FloatingPointError: From a step, naming the first loss term that is not finite.
    """

    def __init__(
        self,
        backbone: Callable[[int], Backbone],
        method: Callable[[Backbone], SSLMethod],
        optimizer: AdamWOptions = AdamWOptions(),  # noqa: B008 - frozen
        compile: bool | str = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.compile_with, self.checkpointing = compile, checkpointing
        self.backbone = backbone(1)
        self.method = method(self.backbone)
        self.optimizer_options = optimizer
        self.pictures: dict[str, Tensor] = {}
        """Volumes of the latest validation, for whoever draws them."""
        self.by_windows = False
        """Whether templates learn by windows; decided in `setup`."""
        self.max_steps = 0
        """Optimiser steps of the whole run; known once it has begun."""

    @property
    def needs(self) -> DataNeeds:
        """What the method asks of the loader."""
        return self.method.needs

    def check(self, data: Any, *, validates: bool) -> None:  # noqa: ANN401 - any data module
        """Try crop size, modalities and splits on network, masking and method.

        Raises:
            ValueError: If one does not suit.
        """
        description = data.describe()
        if isinstance(description, LabelledDescription):
            raise ValueError(
                f"pre-training takes single modalities, but {type(data).__name__} hands out "
                "aligned channels with annotations; use PretrainDataModule"
            )
        coarsest = self.backbone.strides[-1]
        if any(side % coarsest for side in description.crop_size):
            raise ValueError(
                f"data.crop_size {description.crop_size} must be multiples of {coarsest}, the "
                f"stride of {type(self.backbone).__name__}"
            )
        self.method.prepare(description)
        data.needs = self.needs
        for split in ("train", "val") if validates else ("train",):
            data.studies(split)

    def setup(self, stage: str) -> None:
        """Let the method adapt to the data, and choose how the network is run."""
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if datamodule is None:
            raise ValueError("PretrainTask needs a data module that describes its data")
        description = datamodule.describe()
        self.method.prepare(description)
        if stage == "fit":
            self._choose_updates(description)
        accelerate(self, compile=self.compile_with, checkpointing=self.checkpointing)

    def _choose_updates(self, data: DataDescription) -> None:
        """Decide whether templates learn by windows.

        Raises:
            SetupError: If that was asked for, and something else forbids it.
        """
        templates = self.method.learned_templates()
        if templates is None:
            return
        options = self.optimizer_options
        groups = self.method.parameter_groups(options.learning_rate)
        own = [g for g in groups if any(p is templates.values for p in g["params"])]
        decays = [float(group.get("weight_decay", options.weight_decay)) for group in own]
        try:
            self.by_windows = bool(own) and choose_updates(
                self, templates, data, weight_decay=max(decays), betas=options.betas
            )
        except ValueError as error:
            raise SetupError(str(error)) from error

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's union of many types
        """Return AdamW with warm-up and cosine decay over the backbone and the method."""
        options = self.optimizer_options
        groups = [
            {"params": list(self.backbone.parameters())},
            *self.method.parameter_groups(options.learning_rate),
        ]
        self.max_steps = planned_steps(self.trainer)
        templates = self.method.learned_templates()
        windows = []
        if templates is not None and self.by_windows:
            windows.append(templates.learn_in_windows(options.betas, EPS))
        return configure_adamw(self, groups, options, windows)

    def training_step(self, batch: StudyBatch, batch_idx: int) -> Tensor:
        """Return the weighted sum of the method's terms."""
        terms = self._terms(batch, is_training=True)
        total = self._total(terms, batch, "train")
        self.report_faults(batch)
        if batch_idx % self.log_interval() == 0:
            self.log_dict({f"templates/{k}": v for k, v in self.method.step_metrics().items()})
        return total

    def validation_step(self, batch: StudyBatch, batch_idx: int) -> None:
        """Score corruptions that are the same in every validation."""
        templates = self.method.learned_templates()
        if batch_idx == 0 and templates is not None:
            templates.settle()  # on all processes alike, before one of them draws them
        terms = self._terms(batch, is_training=False)
        self._total(terms, batch, "val")
        self.report_faults(batch)
        if batch_idx == 0:
            self.pictures = {name: volume.cpu() for name, volume in terms.pictures.items()}

    def on_fit_end(self) -> None:
        """Leave nothing behind that a task on another device could not use."""
        templates = self.method.learned_templates()
        if templates is not None:
            templates.learn_densely()

    def _terms(self, batch: StudyBatch, *, is_training: bool) -> LossTerms:
        step = self._step_info(is_training=is_training)
        views = self.method.views(batch, step)
        return self.method.loss(self.backbone, views, step)

    def _step_info(self, *, is_training: bool) -> StepInfo:
        return StepInfo(
            step=self.global_step,
            max_steps=self.max_steps,
            epoch=self.current_epoch,
            max_epochs=self.trainer.max_epochs or 0,
            is_training=is_training,
        )

    def _total(self, terms: LossTerms, batch: StudyBatch, stage: str) -> Tensor:
        self.check_finite(terms.terms, batch)
        weights = self.method.weights(self._step_info(is_training=stage == "train"))
        total = torch.stack([weights[name] * term for name, term in terms.terms.items()]).sum()
        scalars = {"total": total.detach(), **terms.metrics}
        scalars.update({name: term.detach() for name, term in terms.terms.items()})
        self.log_dict(
            {f"{stage}/{name}": value.float() for name, value in scalars.items()},
            batch_size=batch["num_studies"],
            on_step=stage == "train",
            on_epoch=stage == "val",
            sync_dist=stage == "val",
        )
        self.log(f"{stage}/loss", total.detach(), prog_bar=True, logger=False, batch_size=1)
        return total
