"""Contract of a self-supervised learning method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import DataDescription, StepInfo, StudyBatch
from brainmvp_lightning.methods.templates import ModalityTemplates


@dataclass(frozen=True)
class DataNeeds:
    """What a method asks of the loader."""

    min_modalities: int = 1
    """Studies with fewer modalities cannot be used."""
    needs_partner: bool = True
    """Whether a second modality of each study is read at all."""


@dataclass(frozen=True)
class LossTerms:
    """What a method returns for one step."""

    terms: dict[str, Tensor]
    """Unweighted losses by name, scalars with gradient."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Further scalars to log, detached."""
    pictures: dict[str, Tensor] = field(default_factory=dict)
    """Volumes to draw, ``n 1 x y z`` with the same ``n``, detached; only where not training."""


class SSLMethod(nn.Module, ABC):
    """Turns a batch into corrupted views and scores what a backbone makes of them.

    A subclass takes the backbone as its only positional argument, to size its heads; it owns heads,
    templates and teachers, never the backbone.
    """

    @property
    @abstractmethod
    def needs(self) -> DataNeeds:
        """What this method asks of the loader."""

    @abstractmethod
    def views(self, batch: StudyBatch, step: StepInfo) -> Any:  # noqa: ANN401 - private to a method
        """Corrupt the batch, on its device and without a loop over samples."""

    @abstractmethod
    def loss(self, backbone: Backbone, views: Any, step: StepInfo) -> LossTerms:  # noqa: ANN401
        """Run the backbone on the views and score the result."""

    @abstractmethod
    def weights(self, step: StepInfo) -> dict[str, float]:
        """Return the factor of each term that `loss` names."""

    def prepare(self, data: DataDescription) -> None:
        """Adapt to the data, before the first batch.

        Raises:
            ValueError: If the method cannot serve such data.
        """

    def parameter_groups(self, learning_rate: float) -> Iterable[dict[str, Any]]:
        """Return optimiser groups for the parameters of this method."""
        del learning_rate
        return [{"params": list(self.parameters())}]

    def learned_templates(self) -> ModalityTemplates | None:
        """Return volumes of which a step takes a few crops only, and which may learn by windows."""
        return None

    @torch.no_grad()
    def step_metrics(self) -> dict[str, Tensor]:
        """Return scalars that describe the state of the method, such as template statistics."""
        return {}
