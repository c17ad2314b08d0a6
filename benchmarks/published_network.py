"""The published pre-training network, written plainly: the rival of the benchmark of a step.

Written by us from the description of the method, with the names of our tensors, so that it loads
our weights. Every layer is what its description says and no more: maps lie channels first in
memory, convolutions of one voxel are convolutions, attention makes its matrix of all pairs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

NUM_CONVOLUTION_STAGES = 2
BLOCK_NORM_EPS = 1e-6


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network.

    Attributes:
        widths: Channels of each stage.
        depths: Blocks of each stage.
        strides: Factor by which each stage lowers the resolution.
        decoder_widths: Channels from the coarsest level to full resolution.
        head_width: Channels of one attention head.
        mlp_ratio: Hidden channels of a perceptron over the width of its stage.

    Source:
        UniFormer-small (arXiv 2201.04676) in 3-D; BrainMVP, section 4.
    """

    widths: Sequence[int] = (64, 128, 320, 512)
    depths: Sequence[int] = (3, 4, 8, 3)
    strides: Sequence[int] = (2, 2, 2, 2)
    decoder_widths: Sequence[int] = (512, 320, 128, 64, 64)
    head_width: int = 64
    mlp_ratio: float = 4.0


class PlainUniFormer(nn.Module):
    """The encoder: two stages of convolution blocks, two of attention blocks, a batch norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        inputs = (1, *sizes.widths[:-1])
        self.stages = nn.ModuleList(
            PlainStage(sizes, level, finer) for level, finer in enumerate(inputs)
        )
        self.norm = nn.BatchNorm3d(sizes.widths[-1])

    def forward(self, image: Tensor) -> Tensor:
        """Map ``b 1 x y z`` to the last features, ``b c x y z``."""
        level = image
        for stage in self.stages:
            level = stage(level)
        features: Tensor = self.norm(level)
        return features


class PlainStage(nn.Module):
    """A patch embedding and blocks."""

    def __init__(self, sizes: Sizes, level: int, finer: int) -> None:
        super().__init__()
        width = sizes.widths[level]
        mlp_width = int(width * sizes.mlp_ratio)
        self.entry = PlainPatchEmbedding(finer, width, sizes.strides[level])
        self.blocks = nn.Sequential(
            *(
                PlainConvolutionBlock(width, mlp_width)
                if level < NUM_CONVOLUTION_STAGES
                else PlainAttentionBlock(width, mlp_width, sizes.head_width)
                for _ in range(sizes.depths[level])
            )
        )

    def forward(self, finer: Tensor) -> Tensor:
        """Map the finer level ``b c x y z`` to this one."""
        level: Tensor = self.blocks(self.entry(finer))
        return level


class PlainPatchEmbedding(nn.Module):
    """A convolution without overlap, then a layer norm over channels."""

    def __init__(self, finer: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(finer, width, kernel_size=stride, stride=stride)
        self.norm = nn.LayerNorm(width)

    def forward(self, finer: Tensor) -> Tensor:
        """Map ``b finer sx sy sz`` to ``b width x y z``, channels first in memory."""
        level = self.conv(finer)
        tokens = self.norm(level.flatten(2).transpose(1, 2))  # b n c
        normed: Tensor = tokens.transpose(1, 2).reshape(level.shape).contiguous()
        return normed


class PlainConvolutionBlock(nn.Module):
    """Position, mixing of a 5^3 neighbourhood and perceptron, each a residual."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.position = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.mixing = nn.Sequential(
            OrderedDict(
                norm=nn.BatchNorm3d(width),
                fc1=nn.Conv3d(width, width, 1),
                depthwise=nn.Conv3d(width, width, 5, padding=2, groups=width),
                fc2=nn.Conv3d(width, width, 1),
            )
        )
        self.mlp = nn.Sequential(
            OrderedDict(
                norm=nn.BatchNorm3d(width),
                fc1=nn.Conv3d(width, mlp_width, 1),
                act=nn.GELU(),
                fc2=nn.Conv3d(mlp_width, width, 1),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``b c x y z`` to the same shape."""
        x = x + self.position(x)
        x = x + self.mixing(x)
        mixed: Tensor = x + self.mlp(x)
        return mixed


class PlainAttentionBlock(nn.Module):
    """Position, self-attention over all voxels and perceptron, each a residual."""

    def __init__(self, width: int, mlp_width: int, head_width: int) -> None:
        super().__init__()
        self.position = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.attention = PlainAttention(width, head_width)
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
        tokens = x.flatten(2).transpose(1, 2)  # b n c
        tokens = tokens + self.attention(tokens)
        tokens = tokens + self.mlp(tokens)
        mixed: Tensor = tokens.transpose(1, 2).reshape(x.shape).contiguous()
        return mixed


class PlainAttention(nn.Module):
    """Pre-norm multi-head attention whose matrix of all pairs of tokens is made and kept."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.norm = nn.LayerNorm(width, eps=BLOCK_NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``b n c`` to the same shape."""
        num, length, width = tokens.shape
        split = (num, length, 3, width // self.head_width, self.head_width)
        qkv = self.qkv(self.norm(tokens)).reshape(split).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # b heads n c each
        attention = (query @ key.transpose(-2, -1) * self.head_width**-0.5).softmax(dim=-1)
        attended = (attention @ value).transpose(1, 2).reshape(num, length, width)
        updated: Tensor = self.project(attended)
        return updated


class PlainDecoder(nn.Module):
    """Transposed convolutions that double the resolution, and a 1^3 convolution."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        widths = sizes.decoder_widths
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, kernel_size=2, stride=2, bias=False)
            for coarse, fine in pairwise(widths)
        )
        self.out = nn.Conv3d(widths[-1], 1, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map the last features to the image, ``b 1 x y z``."""
        level = features
        for up in self.up:
            level = up(level)
        image: Tensor = self.out(level)
        return image
