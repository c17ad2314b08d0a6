"""Contrast of the embeddings of two views."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.heads.base import LossHead
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.losses.contrastive import candidates_of, symmetric_info_nce
from brainmvp_lightning.losses.precision import at_least_float32


@HEADS.register("info_nce")
class InfoNCEHead(LossHead):
    """Embeds each view and tells the two views of a sample from those of other samples.

    Args:
        backbone: Network whose last features are embedded.
        temperature: Softness tau of the softmax, above 0. The paper gives none; the published
            script runs with 1.0, which leaves hardly any contrast in small batches.
        embedding: ``"pooled"`` takes the mean over the last feature map, ``"flattened"`` the whole
            map (published code). Both are scaled to length 1.
        projector_width: Width of a two-layer projector of pooled embeddings; none if not given.
        gather: Whether embeddings of all processes are negatives, or only those of the same one
            (published code).
        weight: Factor of this loss in the total.
        start_epoch: First epoch in which the factor is above 0 (paper: 1000 of 1500).
        ramp_epochs: Epochs over which the factor then rises from 0.

    Attributes:
        num_negatives: Negatives of each sample in the last call of `loss`, a scalar to be logged.

    Raises:
        ValueError: If the temperature is not above 0, or a projector shall read a flattened map.

    Source:
        BrainMVP, equations 4 and 5; section 4.1 for the start.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        temperature: float = 0.1,
        embedding: Literal["pooled", "flattened"] = "pooled",
        projector_width: int | None = None,
        gather: bool = True,
        weight: float = 1.0,
        start_epoch: int = 0,
        ramp_epochs: int = 0,
    ) -> None:
        super().__init__(weight=weight, start_epoch=start_epoch, ramp_epochs=ramp_epochs)
        if temperature <= 0:
            raise ValueError(f"info_nce: temperature must be above 0, got {temperature}")
        if projector_width is not None and embedding == "flattened":
            raise ValueError(
                "info_nce: the width of a flattened map depends on the crop size, a projector "
                "cannot read it; use embedding 'pooled' or remove projector_width"
            )
        self.temperature = temperature
        self.embedding = embedding
        self.gather = gather
        self.projector = _projector(backbone.feature_channels[-1], projector_width)
        self.num_negatives = torch.zeros(())

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return embeddings of length 1, ``b k``, in float32 or finer."""
        last = at_least_float32(features[-1])  # b c x y z
        embedded = last.mean(dim=(2, 3, 4)) if self.embedding == "pooled" else last.flatten(1)
        return functional.normalize(at_least_float32(self.projector(embedded)), dim=1)

    def loss(
        self,
        prediction: Tensor,
        target: Tensor,
        share: Tensor,
        mask: Tensor | None = None,
        *,
        capacity: int | None = None,
    ) -> Tensor:
        """Return the contrast of two embeddings, summed over samples times their shares.

        Args:
            prediction: Embeddings of the cross-modally masked images, ``b k``.
            target: Embeddings of the template-masked images, ``b k``, same order.
            share: Share of each sample in the loss, ``b``.
            mask: Not used.
            capacity: Most samples that any process can have, the same number on all of them; the
                embeddings then travel in one collective for which no host waits. Without it, the
                processes first agree on a number.
        """
        del mask
        candidates = candidates_of(prediction, target, share, gather=self.gather, capacity=capacity)
        self.num_negatives = candidates.num_negatives()
        return symmetric_info_nce(
            prediction, target, self.temperature, share=share, candidates=candidates
        )


def _projector(channels: int, width: int | None) -> nn.Module:
    if width is None:
        return nn.Identity()
    return nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width))
