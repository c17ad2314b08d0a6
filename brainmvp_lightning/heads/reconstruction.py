"""Reconstruction of the image from features."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.heads.base import LossHead
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.losses.reconstruction import mean_absolute_error, mean_squared_error


@HEADS.register("reconstruction")
class ReconstructionHead(LossHead):
    """Decodes the last features, without skip connections, and compares with the true image.

    Args:
        backbone: Network whose features are decoded.
        decoder: ``"paired"`` takes the decoder that the authors of the backbone paired it with;
            ``"transposed"`` and ``"residual"`` name one.
        norm: ``"l2"`` for the mean squared, ``"l1"`` for the mean absolute error.
        region: Voxels that count: ``"all"``, or the ``"masked"`` ones only.
        weight: Factor of this loss in the total (published script: 10 for the distillation).
        start_epoch: First epoch in which the factor is above 0.
        ramp_epochs: Epochs over which the factor then rises from 0.

    Source:
        BrainMVP, equations 2 and 3: squared error over all voxels.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        decoder: Literal["paired", "transposed", "residual"] = "paired",
        norm: Literal["l2", "l1"] = "l2",
        region: Literal["all", "masked"] = "all",
        weight: float = 1.0,
        start_epoch: int = 0,
        ramp_epochs: int = 0,
    ) -> None:
        super().__init__(weight=weight, start_epoch=start_epoch, ramp_epochs=ramp_epochs)
        self.norm = norm
        self.region = region
        self.decoder = build_decoder(backbone, decoder)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the reconstructed image, ``b 1 x y z``."""
        image: Tensor = self.decoder(features)
        return image

    def loss(
        self,
        prediction: Tensor,
        target: Tensor,
        share: Tensor,
        mask: Tensor | None = None,
        *,
        capacity: int | None = None,
    ) -> Tensor:
        """Return the error summed over samples times their shares.

        Raises:
            ValueError: If only masked voxels count and there is no mask.
        """
        del capacity
        if self.region == "masked" and mask is None:
            raise ValueError("reconstruction with region 'masked' needs the mask of the image")
        error = mean_squared_error if self.norm == "l2" else mean_absolute_error
        errors = error(prediction, target, mask if self.region == "masked" else None)  # b
        return (share * errors).sum()
