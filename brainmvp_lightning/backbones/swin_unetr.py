"""Swin UNETR: the encoder of a U-Net that attends within shifted windows."""

from __future__ import annotations

import torch
from monai.networks.nets.swin_unetr import SwinTransformer, SwinTransformerBlock
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES

NUM_STAGES = 4


@BACKBONES.register("swin_unetr")
class SwinUNETR(Backbone):
    """Swin transformer on patches of 2^3 voxels; each of four stages ends in a merge of 2^3 tokens.

    Features are the patches and what leaves each stage, at 1/2 to 1/32 of the image's resolution,
    each token brought to mean 0 and variance 1. The stages hand on what is not normalised, as in
    MONAI's `SwinUNETR`, whose names the tensors have.

    Args:
        in_channels: Channels of the image.
        width: Channels of the patches; they double with every stage.
        depths: Layers of each stage; every second one shifts its windows.
        num_heads: Attention heads of each stage; divide its width on entry, `width` for the first.
        window_size: Edge of a window in tokens; smaller maps are one window.
        mlp_ratio: Hidden channels of a layer's perceptron over the width of its stage.

    Raises:
        ValueError: If there are not four stages or a number of heads does not divide a width.

    Source:
        Swin UNETR (arXiv 2201.01266): 48 channels, 2 layers per stage, 3, 6, 12, 24 heads, windows
        of 7^3.
    """

    decoder = "transposed"
    segmentation_head = "swin_unetr"
    stems = ("swinViT.patch_embed.proj.weight",)

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 48,
        depths: tuple[int, int, int, int] = (2, 2, 2, 2),
        num_heads: tuple[int, int, int, int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        _check_sizes(width, depths, num_heads)
        self.in_channels = in_channels
        self.feature_channels = tuple(width << level for level in range(NUM_STAGES + 1))
        self.strides = tuple(2 << level for level in range(NUM_STAGES + 1))
        device = torch.empty(0).device
        with torch.device("cpu"):  # MONAI reads numbers from tensors; the meta device has none
            self.swinViT = SwinTransformer(
                in_channels,
                width,
                window_size=(window_size,) * 3,
                patch_size=(2, 2, 2),
                depths=depths,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
            )
        self.to(device)

    @property
    def stages(self) -> list[nn.Module]:
        """The stages, for `Backbone.depth_groups`."""
        swin = self.swinViT
        return [swin.layers1, swin.layers2, swin.layers3, swin.layers4]

    def all_blocks(self) -> list[SwinTransformerBlock]:
        """Return the layers of all stages."""
        parts = [part for stage in self.stages for part in stage.modules()]
        return [part for part in parts if isinstance(part, SwinTransformerBlock)]

    def use_checkpointing(self, is_on: bool = True) -> None:
        """Compute both halves of each layer again in the backward pass, as MONAI does."""
        for block in self.all_blocks():
            block.use_checkpoint = is_on

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the patches and the outputs of the four stages; see `Backbone.forward`."""
        self.check_image(image)
        return [level.contiguous() for level in self.swinViT(image, normalize=True)]


def _check_sizes(width: int, depths: tuple[int, ...], num_heads: tuple[int, ...]) -> None:
    if len(depths) != NUM_STAGES or len(num_heads) != NUM_STAGES or min(*depths, *num_heads) < 1:
        raise ValueError(
            f"swin_unetr needs four depths and four num_heads of at least 1, got depths "
            f"{list(depths)} and num_heads {list(num_heads)}"
        )
    widths = [width << stage for stage in range(NUM_STAGES)]
    if any(channels % heads for channels, heads in zip(widths, num_heads, strict=True)):
        raise ValueError(
            f"swin_unetr needs num_heads that divide the widths {widths} of its stages, got "
            f"{list(num_heads)}"
        )
