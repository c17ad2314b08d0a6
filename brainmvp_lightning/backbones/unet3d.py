"""UNET3D: the encoder of a residual 3-D U-Net."""

from __future__ import annotations

from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.residual import ResidualBlock
from brainmvp_lightning.backbones.stage import Stage


@BACKBONES.register("unet3d")
class UNET3D(Backbone):
    """Residual blocks on levels joined by strided convolutions, without batch statistics.

    Features are what leaves the last block of each level, at full, 1/2, 1/4 and 1/8 resolution.
    Layers keep torch's initialisation: no norm bounds the sum of the residuals, and Kaiming's
    distribution lets the first predictions be tens of times the intensity range.

    Args:
        in_channels: Channels of the image.
        widths: Channels of each level, finest first.
        depths: Residual blocks of each level.
        channels_last: Whether maps lie channels last in memory, whatever the layout of the image.
            Results do not depend on it; on a CPU, narrow networks are up to twice as fast this way.

    Raises:
        ValueError: If `widths` and `depths` do not describe the same levels.

    Source:
        Published BrainMVP UNET3D: 32, 64, 128, 256 channels; 1, 2, 2, 4 blocks.
    """

    decoder = "residual"
    segmentation_head = "residual_unet"
    stems = ("stages.0.entry.weight",)

    def __init__(
        self,
        in_channels: int,
        *,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        depths: tuple[int, ...] = (1, 2, 2, 4),
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(depths) or min(*widths, *depths) < 1:
            raise ValueError(
                f"unet3d needs one width and one depth of at least 1 per level, got widths "
                f"{list(widths)} and depths {list(depths)}"
            )
        self.in_channels = in_channels
        self.feature_channels = tuple(widths)
        self.strides = tuple(2**level for level in range(len(widths)))
        self.stages = nn.ModuleList()
        for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            finer = widths[level - 1] if level else in_channels
            entry = nn.Conv3d(finer, width, 3, stride=2 if level else 1, padding=1)
            blocks = [ResidualBlock(width) for _ in range(depth)]
            self.stages.append(Stage(entry, blocks, channels_last))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of each level; see `Backbone.forward`."""
        self.check_image(image)
        features = []
        level = image
        for stage in self.stages:
            level = stage(level)
            features.append(level)
        return features
