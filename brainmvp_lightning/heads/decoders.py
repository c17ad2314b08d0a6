"""Decoders that rebuild an image from the coarsest features alone, without skip connections."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.initialisation import init_weights
from brainmvp_lightning.backbones.pointwise import PointwiseConv3d
from brainmvp_lightning.backbones.residual import ResidualBlock

DecoderKind = Literal["paired", "transposed", "residual"]


def build_decoder(backbone: Backbone, kind: DecoderKind = "paired") -> nn.Module:
    """Build a decoder from pyramid to image, ``list of features -> b 1 x y z``.

    Args:
        backbone: Network whose features it will read.
        kind: ``"paired"`` takes the one that the backbone's authors used.

    Raises:
        ValueError: If there is no decoder of that kind.
    """
    name = backbone.decoder if kind == "paired" else kind
    if name not in DECODERS:
        raise ValueError(
            f"unknown decoder {name!r} for {type(backbone).__name__}; "
            f"choose one of: paired, {', '.join(DECODERS)}"
        )
    return DECODERS[name](backbone)


class TransposedDecoder(nn.Module):
    """Doubles the resolution by transposed convolutions, nothing between them: a linear map.

    Args:
        backbone: Network whose last level it reads. Each resolution gets the width that the
            backbone has there; those finer than its pyramid get its `Backbone.fine_channels`, or
            the width of its finest level if it names none.

    Source:
        Published BrainMVP UniFormer: 512 -> 320 -> 128 -> 64 -> 64 -> 1 channels.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        widths = decoder_widths(backbone)
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, kernel_size=2, stride=2, bias=False)
            for coarse, fine in pairwise(widths)
        )
        self.apply(init_weights)
        # Initialised by torch: over a fan-out of one channel, Kaiming's distribution would make the
        # first predictions overshoot [0, 1] several times.
        self.out = PointwiseConv3d(widths[-1], 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the image ``b 1 x y z``."""
        level = features[-1]
        for up in self.up:
            level = up(level)
        image: Tensor = self.out(level)
        return image


class ResidualDecoder(nn.Module):
    """Doubles the resolution by nearest neighbours, each time followed by a residual block.

    Args:
        backbone: Network whose last level it reads; widths as in `TransposedDecoder`. Layers keep
            torch's initialisation, as in `UNET3D`.

    Source:
        Published BrainMVP UNET3D: 256 -> 128 -> 64 -> 32 -> 1 channels.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        widths = decoder_widths(backbone)
        self.up = nn.ModuleList(PointwiseConv3d(coarse, fine) for coarse, fine in pairwise(widths))
        self.blocks = nn.ModuleList(ResidualBlock(width) for width in widths[1:])
        self.out = PointwiseConv3d(widths[-1], 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the image ``b 1 x y z``."""
        level = features[-1]
        for up, block in zip(self.up, self.blocks, strict=True):
            level = block(functional.interpolate(up(level), scale_factor=2.0, mode="nearest"))
        image: Tensor = self.out(level)
        return image


DECODERS: dict[str, type[TransposedDecoder] | type[ResidualDecoder]] = {
    "transposed": TransposedDecoder,
    "residual": ResidualDecoder,
}


def decoder_widths(backbone: Backbone) -> list[int]:
    """Return the channels from the coarsest level of `backbone` to full resolution.

    Raises:
        ValueError: If its last stride is no power of two.
    """
    coarsest = backbone.strides[-1]
    if coarsest & (coarsest - 1):
        raise ValueError(
            f"decoders double the resolution, so the last stride must be a power of two; "
            f"{type(backbone).__name__} has {coarsest}"
        )
    known = {2**step: width for step, width in enumerate(backbone.fine_channels)}
    known |= dict(zip(backbone.strides, backbone.feature_channels, strict=True))
    strides = [coarsest >> step for step in range(coarsest.bit_length())]  # coarsest ... 1
    return [known.get(stride, backbone.feature_channels[0]) for stride in strides]
