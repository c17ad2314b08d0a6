"""Parts of a UniFormer stage: patch embedding, convolution block, self-attention block."""

from __future__ import annotations

from collections import OrderedDict

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.backbones.depthwise import DepthwiseConv3d
from brainmvp_lightning.backbones.norms import ExactBatchNorm3d
from brainmvp_lightning.backbones.pointwise import PointwiseConv3d

BLOCK_NORM_EPS = 1e-6  # published UniFormer; the norm of a patch embedding keeps torch's 1e-5


class PatchEmbedding(nn.Module):
    """Lower the resolution by a convolution without overlap, then normalise each voxel.

    Args:
        in_channels: Channels of the finer map.
        width: Channels of the coarser map.
        stride: Factor of the resolution; 1 keeps it and changes the channels only.
    """

    def __init__(self, in_channels: int, width: int, stride: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, width, kernel_size=stride, stride=stride)
        self.norm = nn.LayerNorm(width)

    def forward(self, finer: Tensor) -> Tensor:
        """Map ``b in_channels sx sy sz`` to ``b width x y z``, channels last in memory."""
        voxels: Tensor = self.norm(self.conv(finer).movedim(1, -1))  # b x y z c
        return voxels.movedim(-1, 1)


class DroppingBlock(nn.Module):
    """A block that skips its branches for some samples in training.

    Args:
        drop_path: Chance to skip a branch for a sample.
    """

    drop_chance: Tensor

    def __init__(self, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.drops = drop_path > 0.0
        # A tensor, so that blocks that differ in nothing else share one compiled graph.
        self.register_buffer("drop_chance", torch.tensor(drop_path), persistent=False)

    def dropped(self, branch: Tensor) -> Tensor:
        """Return a branch, ``b ...``, of which some samples may be 0."""
        return drop_path(branch, self.drop_chance) if self.drops and self.training else branch


class ConvolutionBlock(DroppingBlock):
    """Three residuals: position, mixing of a 5^3 neighbourhood, perceptron.

    Args:
        width: Channels.
        mlp_width: Hidden channels of the perceptron.
        drop_path: Chance to skip a branch for a sample in training.
    """

    def __init__(self, width: int, mlp_width: int, drop_path: float) -> None:
        super().__init__(drop_path)
        self.position = DepthwiseConv3d(width, 3)
        self.mixing = nn.Sequential(
            OrderedDict(
                norm=ExactBatchNorm3d(width),
                fc1=PointwiseConv3d(width, width),
                depthwise=DepthwiseConv3d(width, 5),
                fc2=PointwiseConv3d(width, width),
            )
        )
        self.mlp = nn.Sequential(
            OrderedDict(
                norm=ExactBatchNorm3d(width),
                fc1=PointwiseConv3d(width, mlp_width),
                act=nn.GELU(),
                fc2=PointwiseConv3d(mlp_width, width),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``b c x y z`` to the same shape."""
        x = x + self.position(x)
        x = x + self.dropped(self.mixing(x))
        branch: Tensor = self.dropped(self.mlp(x))
        return x + branch


class AttentionBlock(DroppingBlock):
    """Three residuals: position, self-attention over all voxels, perceptron.

    Args:
        width: Channels.
        mlp_width: Hidden channels of the perceptron.
        drop_path: Chance to skip a branch for a sample in training.
        head_width: Channels of one attention head; divides `width`.
    """

    def __init__(self, width: int, mlp_width: int, drop_path: float, head_width: int) -> None:
        super().__init__(drop_path)
        self.position = DepthwiseConv3d(width, 3)
        self.attention = SelfAttention(width, head_width)
        self.mlp = nn.Sequential(
            OrderedDict(
                norm=nn.LayerNorm(width, eps=BLOCK_NORM_EPS),
                fc1=nn.Linear(width, mlp_width),
                act=nn.GELU(),
                fc2=nn.Linear(mlp_width, width),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``b c x y z`` to the same shape."""
        x = x + self.position(x)
        tokens = rearrange(x, "b c x y z -> b (x y z) c")
        tokens = tokens + self.dropped(self.attention(tokens))
        tokens = tokens + self.dropped(self.mlp(tokens))
        return rearrange(tokens, "b (x y z) c -> b c x y z", x=x.shape[2], y=x.shape[3])


class SelfAttention(nn.Module):
    """Multi-head self-attention after a layer norm.

    Args:
        width: Channels of a token.
        head_width: Channels of one head; divides `width`.
    """

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.norm = nn.LayerNorm(width, eps=BLOCK_NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``b n c`` to the same shape."""
        qkv = self.qkv(self.norm(tokens))
        query, key, value = rearrange(
            qkv, "b n (three heads c) -> three b heads n c", three=3, c=self.head_width
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        updated: Tensor = self.project(rearrange(attended, "b heads n c -> b n (heads c)"))
        return updated


def drop_path(branch: Tensor, chance: float | Tensor) -> Tensor:
    """Set `branch` to 0 for whole samples, keeping its expectation (stochastic depth).

    Args:
        branch: ``b ...``.
        chance: Share of samples set to 0, in [0, 1). Draws from torch's generator unless it is the
            number 0.

    Source:
        arXiv 1603.09382, section 3.
    """
    if not isinstance(chance, Tensor) and chance == 0.0:
        return branch
    keep = torch.rand(branch.shape[0], device=branch.device) >= chance  # b
    scale = keep.to(branch.dtype) / (1.0 - chance)
    return branch * scale.view(-1, *[1] * (branch.ndim - 1))
