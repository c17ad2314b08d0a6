"""Parts of your own, without a package: brainmvp --import my_parts fit ..."""

from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES


@BACKBONES.register("tiny_conv")
class TinyConv(Backbone):
    """One strided convolution."""

    stems = ("conv.weight",)

    def __init__(self, in_channels: int, *, width: int = 16) -> None:
        super().__init__()
        self.in_channels, self.feature_channels, self.strides = in_channels, (width,), (2,)
        self.conv = nn.Conv3d(in_channels, width, kernel_size=2, stride=2)

    def forward(self, image: Tensor) -> list[Tensor]:
        self.check_image(image)
        return [self.conv(image)]
