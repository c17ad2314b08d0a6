"""UNETR: the encoder of a U-Net that is a plain vision transformer."""

from __future__ import annotations

import math
from typing import Literal

from monai.networks.nets import ViT
from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.checkpointing import recomputed
from brainmvp_lightning.backbones.registry import BACKBONES

PATCH_SIZE = 16
NUM_LEVELS = 4


@BACKBONES.register("unetr")
class UNETR(Backbone):
    """Vision transformer on patches of 16^3 voxels.

    Features are the tokens after four of its layers, as maps that all lie at 1/16 of the image's
    resolution; the last ones are normalised. Tensors are called as in MONAI's `UNETR`, without
    the norms for cross attention, which it never uses.

    Args:
        in_channels: Channels of the image.
        image_size: Voxels of the image that the learned positions are made for; images of other
            sizes get positions interpolated trilinearly.
        hidden_width: Channels of a token.
        num_layers: Transformer layers, a multiple of 4.
        num_heads: Attention heads of a layer; divides `hidden_width`.
        mlp_width: Hidden channels of a layer's perceptron.
        fine_width: Channels that decoders use at full resolution. They double with every step
            down, up to 1/8 of the resolution.
        feature_layers: Layers whose tokens are features, the last one among them in any case.
            ``"paper"``: the last of each quarter, 3, 6, 9 of 12; ``"published"``: the ones after
            those, 4, 7, 10 of 12, as in the authors' code and MONAI.

    Raises:
        ValueError: If a size is impossible.

    Source:
        UNETR (arXiv 2103.10504): 12 layers of 768 channels (ViT-B), 12 heads; section 3.1 counts
        layers 3, 6, 9, 12 from 1, the published code from 0.
    """

    decoder = "transposed"
    segmentation_head = "unetr"
    stems = ("vit.patch_embedding.patch_embeddings.weight",)

    def __init__(
        self,
        in_channels: int,
        *,
        image_size: tuple[int, int, int] = (96, 96, 96),
        hidden_width: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_width: int = 3072,
        fine_width: int = 16,
        feature_layers: Literal["published", "paper"] = "published",
    ) -> None:
        super().__init__()
        _check_sizes(image_size, hidden_width, num_layers, num_heads)
        self.in_channels = in_channels
        self.feature_channels = (hidden_width,) * NUM_LEVELS
        self.strides = (PATCH_SIZE,) * NUM_LEVELS
        self.fine_channels = tuple(fine_width << step for step in range(NUM_LEVELS))
        self.grid_shape = tuple(side // PATCH_SIZE for side in image_size)
        quarter, shift = num_layers // NUM_LEVELS, int(feature_layers == "published")
        self.feature_layers = tuple(quarter * part + shift for part in range(1, NUM_LEVELS))
        self.checkpointing = False
        self.vit = ViT(
            in_channels,
            image_size,
            (PATCH_SIZE,) * 3,
            hidden_size=hidden_width,
            mlp_dim=mlp_width,
            num_layers=num_layers,
            num_heads=num_heads,
        )
        for layer in self.vit.blocks:  # never used, so they would have no gradient
            layer.norm_cross_attn = layer.cross_attn = nn.Identity()

    @property
    def stages(self) -> nn.ModuleList:
        """The layers, for `Backbone.depth_groups`."""
        layers: nn.ModuleList = self.vit.blocks
        return layers

    def all_blocks(self) -> list[nn.Module]:
        """Return the layers."""
        return list(self.stages)

    def use_checkpointing(self, is_on: bool = True) -> None:
        """Compute each layer again in the backward pass; see `Backbone.use_checkpointing`."""
        self.checkpointing = is_on

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the tokens after four layers as maps; see `Backbone.forward`."""
        self.check_image(image)
        patches = self.vit.patch_embedding.patch_embeddings(image)  # b c x y z
        shape = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2) + self.positions(shape)  # b n c
        features = []
        for depth, layer in enumerate(self.vit.blocks, start=1):
            tokens = recomputed(layer, tokens) if self.checkpointing else layer(tokens)
            if depth in self.feature_layers:
                features.append(_as_map(tokens, shape))
        return [*features, _as_map(self.vit.norm(tokens), shape)]

    def positions(self, shape: tuple[int, ...]) -> Tensor:
        """Return the learned positions of a grid of `shape` patches, ``1 n c``."""
        positions: Tensor = self.vit.patch_embedding.position_embeddings
        if tuple(shape) == self.grid_shape:
            return positions
        grid = _as_map(positions, self.grid_shape)
        resized = functional.interpolate(grid, size=tuple(shape), mode="trilinear")
        return resized.flatten(2).transpose(1, 2)


def _as_map(tokens: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Map ``b (x y z) c`` to ``b c x y z``."""
    maps: Tensor = tokens.transpose(1, 2).unflatten(2, shape)
    return maps.contiguous()


def _check_sizes(
    image_size: tuple[int, ...], hidden_width: int, num_layers: int, num_heads: int
) -> None:
    if len(image_size) != 3 or math.gcd(*image_size) % PATCH_SIZE or min(image_size) < 1:
        raise ValueError(
            f"unetr needs an image_size of three multiples of {PATCH_SIZE}, got {list(image_size)}"
        )
    if num_layers < 1 or num_layers % NUM_LEVELS:
        raise ValueError(
            f"unetr needs num_layers to be a multiple of {NUM_LEVELS}, got {num_layers}"
        )
    if num_heads < 1 or hidden_width % num_heads:
        raise ValueError(
            f"unetr needs num_heads to divide hidden_width {hidden_width}, got {num_heads}"
        )
