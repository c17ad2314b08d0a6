"""Classification of whole crops."""

from __future__ import annotations

from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.initialisation import init_weights
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.losses.precision import at_least_float32


@HEADS.register("pooled")
class PooledClassifier(TaskHead):
    """Classifies a crop by a linear layer on the mean of the coarsest features.

    Reads the last level alone, of any backbone, and has no auxiliary answers.

    Args:
        backbone: Network whose last level is averaged.
        num_outputs: Classes.
        dropout: Chance in training that a channel of the mean is set to 0, in [0, 1). Drawn from
            torch's global generator.

    Raises:
        ValueError: If `dropout` is out of range.

    Source:
        Global average pooling: arXiv 1312.4400, section 3.2. The paper does not describe its
        classification head.
    """

    def __init__(self, backbone: Backbone, num_outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"head pooled: dropout is a chance in [0, 1), got {dropout}")
        self.num_outputs = num_outputs
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(backbone.feature_channels[-1], num_outputs)
        init_weights(self.out)

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        """Return logits ``b num_outputs``; see `TaskHead.forward`."""
        del image, auxiliary
        # In half precision, a sum over thousands of voxels would lose the digits of the mean.
        pooled = at_least_float32(features[-1]).mean(dim=(2, 3, 4))  # b c x y z -> b c
        return [self.out(self.dropout(pooled))]
