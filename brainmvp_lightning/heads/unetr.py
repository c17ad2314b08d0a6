"""The decoder of UNETR."""

from __future__ import annotations

from monai.networks.blocks import UnetOutBlock, UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.registry import HEADS


@HEADS.register("unetr")
class UNETRHead(TaskHead):
    """Raises three levels of a plain transformer to finer resolutions and decodes them as a U-Net.

    Widths are the `Backbone.fine_channels`, so the transposed convolutions can start from those of
    the paired reconstruction decoder. Tensors are called as in MONAI's `UNETR`.

    Args:
        backbone: Network with four levels of stride 16 and the widths of four finer resolutions.
        num_outputs: Channels of the answer.

    Raises:
        ValueError: If the backbone has another pyramid.

    Source:
        UNETR (arXiv 2103.10504), figure 2; instance norms and residual blocks as published.
    """

    def __init__(self, backbone: Backbone, num_outputs: int) -> None:
        super().__init__()
        if backbone.strides != (16,) * 4 or len(backbone.fine_channels) != 4:
            raise ValueError(
                "head unetr reads four levels of stride 16 and the widths of four finer "
                f"resolutions, but {type(backbone).__name__} has strides "
                f"{list(backbone.strides)}; use head {backbone.segmentation_head}"
            )
        self.num_outputs = num_outputs
        widths = backbone.fine_channels  # at full, 1/2, 1/4 and 1/8 resolution
        first, second, third, last = backbone.feature_channels
        self.encoder1 = UnetrBasicBlock(
            3, backbone.in_channels, widths[0], 3, 1, "instance", res_block=True
        )
        self.encoder2 = _raise_resolution(first, widths[1], num_layers=2)
        self.encoder3 = _raise_resolution(second, widths[2], num_layers=1)
        self.encoder4 = _raise_resolution(third, widths[3], num_layers=0)
        self.decoder5 = _merge(last, widths[3])
        self.decoder4 = _merge(widths[3], widths[2])
        self.decoder3 = _merge(widths[2], widths[1])
        self.decoder2 = _merge(widths[1], widths[0])
        self.out = UnetOutBlock(3, widths[0], num_outputs)
        # MONAI has the second one where the block changes the number of channels.
        reading = ("encoder1.layer.conv1.conv.weight", "encoder1.layer.conv3.conv.weight")
        self.stems = tuple(name for name in reading if name in self.state_dict())

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        """Return one answer; there are no auxiliary ones."""
        del auxiliary
        first, second, third, level = features
        level = self.decoder5(level, self.encoder4(third))
        level = self.decoder4(level, self.encoder3(second))
        level = self.decoder3(level, self.encoder2(first))
        level = self.decoder2(level, self.encoder1(image))
        return [self.out(level)]

    def pretrained_names(self) -> dict[str, str]:
        """Return the four transposed convolutions; see `TaskHead.pretrained_names`."""
        return {
            f"decoder{5 - step}.transp_conv.conv.weight": f"up.{step}.weight" for step in range(4)
        }


def _raise_resolution(width: int, fine: int, *, num_layers: int) -> nn.Module:
    """Return layers that double the resolution ``1 + num_layers`` times."""
    block: nn.Module = UnetrPrUpBlock(
        3, width, fine, num_layers, 3, 1, 2, "instance", conv_block=True, res_block=True
    )
    return block


def _merge(coarse: int, fine: int) -> nn.Module:
    """Return a layer that doubles the resolution and joins the result with a skip connection."""
    block: nn.Module = UnetrUpBlock(3, coarse, fine, 3, 2, "instance", res_block=True)
    return block
