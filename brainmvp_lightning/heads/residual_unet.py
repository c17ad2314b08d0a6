"""The decoder of UNET3D with its skip connections."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.pointwise import PointwiseConv3d
from brainmvp_lightning.backbones.residual import ResidualBlock
from brainmvp_lightning.heads.auxiliary import AuxiliaryAnswers
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.decoders import decoder_widths
from brainmvp_lightning.heads.registry import HEADS


@HEADS.register("residual_unet")
class ResidualUnet(TaskHead):
    """Doubles the resolution, adds the level found there, and refines by a residual block.

    This is `ResidualDecoder` with the levels of the backbone added after each up-sampling; nothing
    is added where the backbone has no level. The layers have the names they have there, and keep
    torch's initialisation.

    Args:
        backbone: Network whose levels are added.
        num_outputs: Channels of an answer.
        num_auxiliary: Maps below full resolution, the finest, that answer as well, at most (the
            published network has none).

    Raises:
        ValueError: If the strides are no powers of two in rising order without repetition, or if
            `num_auxiliary` is negative.

    Source:
        Published BrainMVP UNET3D: 256 -> 128 -> 64 -> 32 channels.
    """

    def __init__(self, backbone: Backbone, num_outputs: int, *, num_auxiliary: int = 2) -> None:
        super().__init__()
        _check_strides(backbone)
        self.num_outputs = num_outputs
        widths = decoder_widths(backbone)
        # Level of the backbone at each resolution that the decoder comes to, if there is one.
        resolutions = [backbone.strides[-1] >> step for step in range(1, len(widths))]
        index = {stride: level for level, stride in enumerate(backbone.strides)}
        self.skips = [index.get(stride) for stride in resolutions]
        self.up = nn.ModuleList(PointwiseConv3d(coarse, fine) for coarse, fine in pairwise(widths))
        self.blocks = nn.ModuleList(ResidualBlock(width) for width in widths[1:])
        self.out = PointwiseConv3d(widths[-1], num_outputs)
        self.auxiliary = AuxiliaryAnswers(widths[1:-1], num_outputs, num_auxiliary)
        self.num_auxiliary = len(self.auxiliary)

    def auxiliary_layers(self) -> list[nn.Module]:
        """Return the layers of the auxiliary answers, coarsest first."""
        return list(self.auxiliary)

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        """Return logits ``b num_outputs x y z``; see `TaskHead.forward`."""
        level = features[-1]
        refined = []
        for up, block, skip in zip(self.up, self.blocks, self.skips, strict=True):
            level = functional.interpolate(up(level), scale_factor=2.0, mode="nearest")
            level = block(level if skip is None else level + features[skip])
            refined.append(level)
        answers = [self.out(level)]
        if auxiliary:
            answers += self.auxiliary(refined[:-1], image.shape[2:])
        return answers

    def pretrained_names(self) -> dict[str, str]:
        """Return all tensors of `ResidualDecoder` but those of its last layer."""
        return {name: name for name in self.state_dict() if name.startswith(("up.", "blocks."))}


def _check_strides(backbone: Backbone) -> None:
    strides = list(backbone.strides)
    is_power = all(stride > 0 and stride & (stride - 1) == 0 for stride in strides)
    if is_power and strides == sorted(set(strides)):
        return
    raise ValueError(
        "head residual_unet needs one level a resolution, with strides that are powers of two, the "
        f"finest first; {type(backbone).__name__} has {strides}, use head "
        f"{'unetr' if len(set(strides)) == 1 else 'uniunet'}"
    )
