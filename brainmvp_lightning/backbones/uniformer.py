"""UniFormer in 3-D: convolution blocks where the map is fine, self-attention where it is coarse."""

from __future__ import annotations

import operator
from itertools import accumulate
from typing import Any

from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.initialisation import init_weights
from brainmvp_lightning.backbones.norms import ExactBatchNorm3d
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.stage import Stage
from brainmvp_lightning.backbones.uniformer_blocks import (
    AttentionBlock,
    ConvolutionBlock,
    PatchEmbedding,
)

NUM_CONVOLUTION_STAGES = 2  # of the four; fine maps have too many voxels for attention


class UniFormer(Backbone):
    """Four stages: two of convolution blocks, then two of self-attention blocks.

    Features are the outputs of the stages, at 1/2, 1/4, 1/8 and 1/16 of the image's resolution
    where each stage has stride 2.

    Args:
        in_channels: Channels of the image.
        widths: Channels of each stage.
        depths: Blocks of each stage.
        stage_strides: Factor by which each stage lowers the resolution (published: 2 each).
        head_width: Channels of one attention head; divides the widths of stages 3 and 4.
        mlp_ratio: Hidden channels of a block's perceptron over the width of its stage.
        drop_path: Chance that the last block skips a branch for a sample in training, in [0, 1);
            it rises linearly from 0 at the first block. Drawn from torch's global generator.
        channels_last: Whether maps lie channels last in memory, whatever the layout of the image.
            Results do not depend on it; on a CPU the backward pass of the depth-wise convolutions
            is many times faster this way.

    Raises:
        ValueError: If there are not four stages, `head_width` does not divide a width, or
            `drop_path` is out of range.

    Source:
        BrainMVP, section 4; UniFormer (arXiv 2201.04676), "small".
    """

    decoder = "transposed"
    stems = ("stages.0.entry.conv.weight",)

    def __init__(
        self,
        in_channels: int,
        *,
        widths: tuple[int, int, int, int] = (64, 128, 320, 512),
        depths: tuple[int, int, int, int] = (3, 4, 8, 3),
        stage_strides: tuple[int, int, int, int] = (2, 2, 2, 2),
        head_width: int = 64,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        _check_sizes(widths, depths, head_width)
        if not 0.0 <= drop_path < 1.0:
            raise ValueError(f"drop_path is a chance in [0, 1), got {drop_path}")
        self.in_channels = in_channels
        self.feature_channels = tuple(widths)
        self.strides = tuple(accumulate(stage_strides, operator.mul))
        chances = _ramp(drop_path, depths)
        self.stages = nn.ModuleList()
        for level, width in enumerate(widths):
            finer = widths[level - 1] if level else in_channels
            entry = PatchEmbedding(finer, width, stage_strides[level])
            mlp_width = int(width * mlp_ratio)
            blocks = [
                ConvolutionBlock(width, mlp_width, chance)
                if level < NUM_CONVOLUTION_STAGES
                else AttentionBlock(width, mlp_width, chance, head_width)
                for chance in chances[level]
            ]
            self.stages.append(Stage(entry, blocks, channels_last))
        self.norm = ExactBatchNorm3d(widths[-1])
        self.apply(init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the outputs of the four stages; see `Backbone.forward`."""
        self.check_image(image)
        features = []
        level = image
        for stage in self.stages:
            level = stage(level)
            features.append(level)
        features[-1] = self.norm(level)
        return features


@BACKBONES.register("uniformer_tiny")
class UniFormerTiny(UniFormer):
    """UniFormer of 0.6 M parameters for a CPU; ours, the paper has none so small.

    Fine maps are narrow and coarse ones wide, because it is the fine ones that cost time. The last
    stage keeps the resolution: voxels of 2 or 3 mm, which a CPU can afford, hold too much detail
    for features at 1/16 of it.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        widths: tuple[int, int, int, int] = (16, 32, 64, 128),
        depths: tuple[int, int, int, int] = (1, 1, 2, 2),
        stage_strides: tuple[int, int, int, int] = (2, 2, 2, 1),
        head_width: int = 32,
        **options: Any,  # noqa: ANN401 - handed through to UniFormer
    ) -> None:
        super().__init__(
            in_channels,
            widths=widths,
            depths=depths,
            stage_strides=stage_strides,
            head_width=head_width,
            **options,
        )


@BACKBONES.register("uniformer_small")
class UniFormerSmall(UniFormer):
    """UniFormer of 22.0 M parameters, the network that the paper pre-trains."""


@BACKBONES.register("uniformer_base")
class UniFormerBase(UniFormer):
    """UniFormer of 50 M parameters.

    Source:
        UniFormer (arXiv 2201.04676), variant "base".
    """

    def __init__(
        self,
        in_channels: int,
        *,
        depths: tuple[int, int, int, int] = (5, 8, 20, 7),
        **options: Any,  # noqa: ANN401 - handed through to UniFormer
    ) -> None:
        super().__init__(in_channels, depths=depths, **options)


def _check_sizes(widths: tuple[int, ...], depths: tuple[int, ...], head_width: int) -> None:
    if len(widths) != 4 or len(depths) != 4 or min(*widths, *depths, head_width) < 1:
        raise ValueError(
            f"UniFormer needs four widths and four depths of at least 1, got widths "
            f"{list(widths)} and depths {list(depths)}"
        )
    if any(width % head_width for width in widths[NUM_CONVOLUTION_STAGES:]):
        raise ValueError(
            f"head_width {head_width} does not divide the widths "
            f"{list(widths[NUM_CONVOLUTION_STAGES:])} of the attention stages"
        )


def _ramp(highest: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Return one chance per block and stage, rising linearly from 0 to `highest`."""
    num_steps = max(sum(depths) - 1, 1)
    chances = [highest * step / num_steps for step in range(sum(depths))]
    ends = list(accumulate(depths))
    return [chances[end - depth : end] for end, depth in zip(ends, depths, strict=True)]
