"""The residual block of UNET3D, used by its encoder and its decoder."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.backbones.norms import ExactGroupNorm

NUM_GROUPS = 8  # published UNET3D


class ResidualBlock(nn.Module):
    """Twice group norm, ReLU and 3^3 convolution, added to the input.

    Args:
        width: Channels. The norms have 8 groups, or the largest divisor of 8 that divides `width`.

    Source:
        Published BrainMVP UNET3D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        num_groups = math.gcd(NUM_GROUPS, width)
        self.norm1 = ExactGroupNorm(num_groups, width)
        self.conv1 = nn.Conv3d(width, width, kernel_size=3, padding=1)
        self.norm2 = ExactGroupNorm(num_groups, width)
        self.conv2 = nn.Conv3d(width, width, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``b c x y z`` to the same shape."""
        branch: Tensor = self.conv1(functional.relu(self.norm1(x), inplace=True))
        branch = self.conv2(functional.relu(self.norm2(branch), inplace=True))
        return x + branch
