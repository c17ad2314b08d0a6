"""A loss head: predicts from features, and scores its prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.heads.base import LossHead
from brainmvp_lightning.heads.decoders import build_decoder


class GradientMagnitude(LossHead):
    """Predicts how steep the true image is at each voxel: edges, whatever the contrast.

    Args:
        backbone: Network whose last features are decoded.
        hidden_only: Whether only hidden voxels count.
        weight: Factor of this loss in the total.
        start_epoch: First epoch in which the factor is above 0.
        ramp_epochs: Epochs over which the factor then rises from 0.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden_only: bool = False,
        weight: float = 1.0,  # these three belong to every loss head
        start_epoch: int = 0,
        ramp_epochs: int = 0,
    ) -> None:
        super().__init__(weight=weight, start_epoch=start_epoch, ramp_epochs=ramp_epochs)
        self.hidden_only = hidden_only
        # Sizes come from the backbone, never from a trial run or from YAML.
        self.decoder = build_decoder(backbone)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the predicted steepness, ``b 1 x y z``."""
        steepness: Tensor = self.decoder(features)
        return steepness

    def loss(
        self,
        prediction: Tensor,
        target: Tensor,
        share: Tensor,
        mask: Tensor | None = None,
        *,
        capacity: int | None = None,
    ) -> Tensor:
        """Return the absolute error, summed over samples times their shares.

        Raises:
            ValueError: If only hidden voxels count and there is no mask.
        """
        del capacity  # for losses that compare samples of different processes
        # Losses are computed in float32 at least, also in mixed precision.
        errors = (prediction.float() - gradient_magnitude(target.float())).abs()
        if not self.hidden_only:
            return (share * errors.mean(dim=(1, 2, 3, 4))).sum()
        if mask is None:
            raise ValueError("gradient_magnitude with hidden_only needs the mask of the image")
        num_hidden = mask.sum(dim=(1, 2, 3, 4)).clamp(min=1)  # b
        return (share * (errors * mask).sum(dim=(1, 2, 3, 4)) / num_hidden).sum()


def gradient_magnitude(image: Tensor) -> Tensor:
    """Return the length of the gradient at each voxel, in intensity per voxel, ``b 1 x y z``."""
    slopes = torch.gradient(image, dim=(2, 3, 4))
    return torch.stack(slopes).square().sum(dim=0).sqrt()
