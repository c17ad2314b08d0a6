"""The decoder of Swin UNETR."""

from __future__ import annotations

from monai.networks.blocks import UnetOutBlock, UnetrBasicBlock, UnetrUpBlock
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.registry import HEADS


@HEADS.register("swin_unetr")
class SwinUNETRHead(TaskHead):
    """Residual blocks on image and levels, joined from coarse to fine.

    The transposed convolutions can start from those of the paired reconstruction decoder. Tensors
    are called as in MONAI's `SwinUNETR`.

    Args:
        backbone: Network with five levels of strides 2, 4, 8, 16, 32.
        num_outputs: Channels of the answer.

    Raises:
        ValueError: If the backbone has another pyramid.

    Source:
        Swin UNETR (arXiv 2201.01266), figure 1; as published, the level of stride 16 is joined as
        it is, without a block of its own.
    """

    def __init__(self, backbone: Backbone, num_outputs: int) -> None:
        super().__init__()
        if backbone.strides != (2, 4, 8, 16, 32):
            raise ValueError(
                "head swin_unetr reads levels of strides 2, 4, 8, 16 and 32, but "
                f"{type(backbone).__name__} has strides {list(backbone.strides)}; use "
                f"head {backbone.segmentation_head}"
            )
        self.num_outputs = num_outputs
        half, quarter, eighth, sixteenth, last = backbone.feature_channels
        self.encoder1 = _refine(backbone.in_channels, half)
        self.encoder2 = _refine(half, half)
        self.encoder3 = _refine(quarter, quarter)
        self.encoder4 = _refine(eighth, eighth)
        self.encoder10 = _refine(last, last)
        self.decoder5 = _merge(last, sixteenth)
        self.decoder4 = _merge(sixteenth, eighth)
        self.decoder3 = _merge(eighth, quarter)
        self.decoder2 = _merge(quarter, half)
        self.decoder1 = _merge(half, half)
        self.out = UnetOutBlock(3, half, num_outputs)
        # MONAI has the second one where the block changes the number of channels.
        reading = ("encoder1.layer.conv1.conv.weight", "encoder1.layer.conv3.conv.weight")
        self.stems = tuple(name for name in reading if name in self.state_dict())

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        """Return one answer; there are no auxiliary ones.

        Raises:
            ValueError: If the coarsest level is a single voxel, which has no statistics.
        """
        del auxiliary
        half, quarter, eighth, sixteenth, level = features
        if level.shape[2:].numel() == 1:
            raise ValueError(
                "head swin_unetr normalises maps at 1/32 of the resolution, so one side must "
                f"exceed 32 voxels, got {tuple(image.shape[2:])}; enlarge the crop"
            )
        level = self.decoder5(self.encoder10(level), sixteenth)
        level = self.decoder4(level, self.encoder4(eighth))
        level = self.decoder3(level, self.encoder3(quarter))
        level = self.decoder2(level, self.encoder2(half))
        level = self.decoder1(level, self.encoder1(image))
        return [self.out(level)]

    def pretrained_names(self) -> dict[str, str]:
        """Return the five transposed convolutions; see `TaskHead.pretrained_names`."""
        return {
            f"decoder{5 - step}.transp_conv.conv.weight": f"up.{step}.weight" for step in range(5)
        }


def _refine(width: int, refined: int) -> nn.Module:
    """Return a residual block that keeps the resolution."""
    block: nn.Module = UnetrBasicBlock(3, width, refined, 3, 1, "instance", res_block=True)
    return block


def _merge(coarse: int, fine: int) -> nn.Module:
    """Return a layer that doubles the resolution and joins the result with a skip connection."""
    block: nn.Module = UnetrUpBlock(3, coarse, fine, 3, 2, "instance", res_block=True)
    return block
