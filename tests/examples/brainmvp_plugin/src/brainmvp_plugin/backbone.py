"""A backbone: image to a pyramid of features."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone


class ConvPyramid(Backbone):
    """Strided convolutions, each with a norm and an activation; a level for each width.

    Args:
        in_channels: Channels of the image.
        widths: Channels of each level; the first has half the resolution of the image.
    """

    # The weights that read the image: transfer between numbers of modalities fits their axis 1.
    stems = ("stages.0.0.weight",)
    # Which heads read it best is your choice; these are the defaults.
    decoder = "transposed"
    segmentation_head = "uniunet"

    # Everything after the first argument is an option in YAML, hence typed and with a default.
    def __init__(self, in_channels: int, *, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.feature_channels = tuple(widths)
        self.strides = tuple(2 ** (level + 1) for level in range(len(widths)))
        # Called `stages`, they are the groups of layer-wise learning rates.
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(finer, width, kernel_size=3, stride=2, padding=1),
                nn.GroupNorm(1, width),  # no statistics over the batch, which is small
                nn.GELU(),
            )
            for finer, width in pairwise((in_channels, *widths))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of each level, finest first."""
        self.check_image(image)  # refuses sizes that do not suit, in a sentence
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features
