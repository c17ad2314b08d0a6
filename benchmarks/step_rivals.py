"""Both rivals of the benchmark of a step: ours, and the published step written plainly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial

import lightning.pytorch as pl
import torch
from published_network import Sizes
from published_step import PublishedStep
from step_case import BLOCK_SIZE, RATIO, Case, Precision
from torch import Tensor, nn

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.stage import Stage
from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.backbones.uniformer_blocks import SelfAttention
from brainmvp_lightning.batches import DataDescription, StepInfo, StudyBatch
from brainmvp_lightning.heads.contrastive import InfoNCEHead
from brainmvp_lightning.heads.decoders import decoder_widths
from brainmvp_lightning.heads.reconstruction import ReconstructionHead
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.methods.templates import PUBLISHED_MODALITIES, TemplateOptions
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.pretrain import PretrainTask

TEMPERATURE = 1.0  # published script
OPTIONS = AdamWOptions()
STEP = StepInfo(step=0, max_steps=1, epoch=0, max_epochs=1, is_training=True)


class Ours:
    """Our step: the task's own method, network and optimiser, without a loop around them.

    Args:
        case: How it runs.
        gather: Whether the contrast is over all processes; the published one is over each alone.
    """

    def __init__(self, case: Case, *, gather: bool = False) -> None:
        torch.manual_seed(0)
        self.case = case
        self.precision = case.precision
        self.batch, _ = case.draw()
        self.task = PretrainTask(
            backbone=BACKBONES.get(case.network),
            method=partial(
                BrainMVP,
                masking=GridBlocks(BLOCK_SIZE, RATIO),
                cross_modal=ReconstructionHead,
                contrast=partial(
                    InfoNCEHead, temperature=TEMPERATURE, embedding="flattened", gather=gather
                ),
                templates=TemplateOptions(
                    shape=case.shape, rescale=case.rescale, update=case.update
                ),
            ),
            optimizer=OPTIONS,
            compile=case.compile,
            checkpointing=case.checkpointing,
        )
        self.method: BrainMVP = self.task.method  # type: ignore[assignment]
        assert self.method.templates is not None
        self.templates = self.method.templates
        # Constant templates would be scaled by one over nothing.
        nn.init.uniform_(self.templates.values)
        self.optimizer = _set_up(self.task, case)

    @property
    def decoder(self) -> nn.Module:
        """The decoder of both reconstructions."""
        head = self.method.cross_modal
        assert isinstance(head, ReconstructionHead)
        return head.decoder

    def autocast(self) -> AbstractContextManager[None]:
        """Return the precision of the forward pass."""
        return _autocast(self)

    def view_images(self) -> tuple[Tensor, Tensor]:
        """Return the cross-modal and the template view."""
        views = self.method.views(self.batch, STEP)
        assert views.cross_modal is not None
        assert views.template is not None
        return views.cross_modal.image, views.template.image

    def forward(self) -> dict[str, Tensor]:
        """Return the terms of the loss."""
        with self.autocast():
            views = self.method.views(self.batch, STEP)
            return dict(self.method.loss(self.task.backbone, views, STEP).terms)

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the parameters of the network, by the names of `PublishedStep`."""
        for prefix, module in (("encoder", self.task.backbone), ("decoder", self.decoder)):
            for name, parameter in module.named_parameters():
                yield f"{prefix}.{name}", parameter

    def template_gradient(self) -> Tensor | None:
        """Return the dense gradient of the templates, if one is made."""
        return self.templates.values.grad

    @torch.no_grad()
    def learned(self) -> Tensor:
        """Return a copy of the templates as they are learned, not rescaled, ``s x y z``."""
        self.templates.settle()
        return self.templates.values.clone()


class Published:
    """The published step, with weights of ours once it was given some.

    Args:
        case: How it runs, but for its own precision.
        precision: Of the forward pass; the published one is full.
    """

    def __init__(self, case: Case, *, precision: Precision = "fp32") -> None:
        self.case = case
        self.precision = precision
        self.batch, self.places = case.draw()
        backbone = BACKBONES.get(case.network)(1)
        if not isinstance(backbone, UniFormer):
            raise ValueError(f"the published network is a UniFormer, {case.network!r} is none")
        self.module = PublishedStep(
            sizes_of(backbone),
            torch.rand(len(PUBLISHED_MODALITIES), *case.shape),
            block_size=BLOCK_SIZE,
            ratio=RATIO,
            temperature=TEMPERATURE,
            rescale=case.rescale,
        ).to(case.device)
        self.optimizer: torch.optim.Optimizer = self.module.optimizer(
            OPTIONS.learning_rate, OPTIONS.weight_decay
        )

    @torch.no_grad()
    def load(self, ours: Ours) -> None:
        """Take over weights and templates."""
        self.module.encoder.load_state_dict(ours.task.backbone.state_dict())
        self.module.decoder.load_state_dict(ours.decoder.state_dict())
        self.module.templates.copy_(ours.templates.values)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the precision of the forward pass."""
        return _autocast(self)

    def view_images(self) -> tuple[Tensor, Tensor]:
        """Return the cross-modal and the template view."""
        return self.module.views(self.batch["image"], self.batch["partner"], self.places)

    def forward(self) -> dict[str, Tensor]:
        """Return the terms of the loss."""
        with self.autocast():
            return self.module.losses(self.batch["image"], *self.view_images())

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the parameters of the network by name."""
        for name, parameter in self.module.named_parameters():
            if name != "templates":
                yield name, parameter

    def template_gradient(self) -> Tensor | None:
        """Return the dense gradient of the templates."""
        return self.module.templates.grad

    def learned(self) -> Tensor:
        """Return a copy of the templates as they are learned, not rescaled, ``s x y z``."""
        return self.module.templates.detach().clone()


Rival = Ours | Published
RIVALS: dict[str, type[Ours] | type[Published]] = {"ours": Ours, "published": Published}


def _autocast(rival: Rival) -> AbstractContextManager[None]:
    is_half = rival.precision == "bf16"
    return torch.autocast(rival.case.device, torch.bfloat16, enabled=is_half)


def run_step(rival: Rival) -> dict[str, Tensor]:
    """Do one whole step of training and return the terms of the loss; all weigh 1."""
    rival.optimizer.zero_grad()
    terms = rival.forward()
    torch.stack(list(terms.values())).sum().backward()
    rival.optimizer.step()
    return {name: term.detach() for name, term in terms.items()}


def sizes_of(backbone: UniFormer) -> Sizes:
    """Return the sizes of one of our networks for `published_network`."""
    stages = [stage for stage in backbone.stages if isinstance(stage, Stage)]
    attention = next(m for m in backbone.modules() if isinstance(m, SelfAttention))
    fc1 = backbone.get_parameter("stages.0.blocks.0.mlp.fc1.weight")
    return Sizes(
        widths=backbone.feature_channels,
        depths=[len(stage.blocks) for stage in stages],
        strides=[
            now // before
            for now, before in zip(backbone.strides, (1, *backbone.strides), strict=False)
        ],
        decoder_widths=decoder_widths(backbone),
        head_width=attention.head_width,
        mlp_ratio=fc1.shape[0] / fc1.shape[1],
    )


class _Description(pl.LightningDataModule):
    """Data of which only the description and the length are asked for."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def describe(self) -> DataDescription:
        size = (self.case.size, self.case.size, self.case.size)
        return DataDescription(
            PUBLISHED_MODALITIES,
            (1.0, 1.0, 1.0),
            (0.0, 0.0, 0.0),
            size,
            targets_per_step=self.case.batch,
        )

    def train_dataloader(self) -> list[StudyBatch]:
        return [self.case.draw()[0]]


def _set_up(task: PretrainTask, case: Case) -> torch.optim.Optimizer:
    """Take a task through what precedes training, and return the optimiser it trains with."""
    trainer = pl.Trainer(
        accelerator="gpu" if case.device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if case.precision == "bf16" else "32-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.datamodule = _Description(case)  # type: ignore[attr-defined]
    task.trainer = trainer
    task.setup("fit")
    task.configure_model()
    task.to(case.device)
    optimizer: torch.optim.Optimizer = task.configure_optimizers()["optimizer"]
    return optimizer
