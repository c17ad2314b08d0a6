"""UniUnet: the decoder with skip connections that BrainMVP fine-tunes."""

from __future__ import annotations

from itertools import pairwise

from monai.networks.blocks import UnetrUpBlock
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.pointwise import PointwiseConv3d
from brainmvp_lightning.heads.auxiliary import AuxiliaryAnswers
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.decoders import decoder_widths
from brainmvp_lightning.heads.registry import HEADS


@HEADS.register("uniunet")
class UniUnet(TaskHead):
    """Merges each level with the next finer one, down to a projection of the image itself.

    A merge up-samples by a transposed convolution and mixes the finer level in by a residual block
    with instance norm. Two levels of one stride are merged by a 1^3 convolution. A finest level of
    full resolution stands where the projection of the image would, which is then left out. Layers
    keep torch's initialisation: the norms take the scale out.

    Args:
        backbone: Network whose levels it merges.
        num_outputs: Channels of an answer.
        num_auxiliary: Merged maps below full resolution, the finest, that answer as well, at most.

    Raises:
        ValueError: If the strides are no powers of two in rising order, if all of several levels
            have the same one, or if `num_auxiliary` is negative.

    Source:
        Published BrainMVP fine-tuning network ("UniUnet"): answers from 1/4 and 1/2 resolution.
    """

    def __init__(self, backbone: Backbone, num_outputs: int, *, num_auxiliary: int = 2) -> None:
        super().__init__()
        _check_strides(backbone)
        self.num_outputs = num_outputs
        decoder = decoder_widths(backbone)
        levels = list(zip(backbone.strides, backbone.feature_channels, strict=True))[::-1]
        self.project: ImageProjection | None = None
        if backbone.strides[0] > 1:
            self.project = ImageProjection(backbone.in_channels, decoder[-1])
            self.stems = ("project.conv.weight",)
            levels.append((1, decoder[-1]))
        self.up = nn.ModuleList(
            UnetrUpBlock(
                spatial_dims=3,
                in_channels=coarse_width,
                out_channels=width,
                kernel_size=3,
                upsample_kernel_size=coarse_stride // stride,
                norm_name="instance",
                res_block=True,
            )
            for (coarse_stride, coarse_width), (stride, width) in pairwise(levels)
        )
        self.out = PointwiseConv3d(levels[-1][1], num_outputs)
        merged_widths = [width for _, width in levels[1:-1]]
        self.auxiliary = AuxiliaryAnswers(merged_widths, num_outputs, num_auxiliary)
        self.num_auxiliary = len(self.auxiliary)
        self._pretrained_names = _pretrained_names(levels, decoder)

    def auxiliary_layers(self) -> list[nn.Module]:
        """Return the layers of the auxiliary answers, coarsest first."""
        return list(self.auxiliary)

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        """Return logits ``b num_outputs x y z``; see `TaskHead.forward`.

        Raises:
            ValueError: If a map to be normalised is a single voxel, which has no statistics.
        """
        skips = features if self.project is None else [self.project(image), *features]
        if len(skips) > 1 and skips[-2].shape[2:].numel() == 1:
            raise ValueError(
                "head uniunet normalises its coarsest merged map, which is a single voxel for an "
                f"image of {tuple(image.shape[2:])}; enlarge the crop"
            )
        level = skips[-1]
        merged = []
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            level = up(level, skip)
            merged.append(level)
        answers = [self.out(level)]
        if auxiliary:
            answers += self.auxiliary(merged[:-1], image.shape[2:])
        return answers

    def pretrained_names(self) -> dict[str, str]:
        """Return the transposed convolutions that `TransposedDecoder` has in the same shape."""
        return dict(self._pretrained_names)


class ImageProjection(nn.Module):
    """A 3^3 convolution of the image, normalised over the channels of each voxel.

    Args:
        in_channels: Channels of the image.
        width: Channels of the result.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, width, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``b in_channels x y z`` to ``b width x y z``, channels last in memory."""
        voxels: Tensor = self.norm(self.conv(image).movedim(1, -1))  # b x y z c
        return voxels.movedim(-1, 1)


def _check_strides(backbone: Backbone) -> None:
    strides = list(backbone.strides)
    name = type(backbone).__name__
    if len(strides) > 1 and len(set(strides)) == 1:
        raise ValueError(
            f"head uniunet merges coarse levels with finer ones, but all {len(strides)} levels of "
            f"{name} have stride {strides[0]}; use head unetr"
        )
    is_power = all(stride > 0 and stride & (stride - 1) == 0 for stride in strides)
    if not is_power or strides != sorted(strides):
        raise ValueError(
            f"head uniunet needs strides that are powers of two, the finest level first; {name} "
            f"has {strides}"
        )


def _pretrained_names(levels: list[tuple[int, int]], widths: list[int]) -> dict[str, str]:
    """Return our transposed convolutions that double the resolution between the same widths.

    Args:
        levels: Stride and channels of each level, coarsest first.
        widths: Channels of the reconstruction decoder, which doubles the resolution each time.
    """
    names = {}
    for index, ((coarse_stride, coarse_width), (stride, width)) in enumerate(pairwise(levels)):
        step = (levels[0][0] // coarse_stride).bit_length() - 1  # in the reconstruction decoder
        if coarse_stride == 2 * stride and [coarse_width, width] == widths[step : step + 2]:
            names[f"up.{index}.transp_conv.conv.weight"] = f"up.{step}.weight"
    return names
