"""What every head that answers a task promises, on each kind of pyramid it takes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.swin_unetr import SwinUNETR
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.unetr import UNETR
from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.decoders import DecoderKind, build_decoder
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.testing import check_head

NUM_OUTPUTS = 3
# The first side is such that no level is 2 voxels long there: in torch 2.13 on a CPU, the bfloat16
# gradient of a 3^3 convolution of such a map is not fully written, whatever the network.
SIZE = (48, 32, 16)
SMALL: dict[str, Callable[[int], Backbone]] = {
    "uniformer": lambda channels: UniFormer(
        channels, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8
    ),
    "two levels of one stride": lambda channels: UniFormer(
        channels,
        widths=(8, 8, 16, 24),
        depths=(1, 1, 1, 1),
        stage_strides=(2, 2, 2, 1),
        head_width=8,
    ),
    "unet3d": lambda channels: UNET3D(channels, widths=(8, 16, 24), depths=(1, 1, 1)),
    "unetr": lambda channels: UNETR(
        channels,
        image_size=SIZE,
        hidden_width=12,
        num_layers=4,
        num_heads=2,
        mlp_width=16,
        fine_width=2,
    ),
    "swin_unetr": lambda channels: SwinUNETR(
        channels, width=6, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_size=2
    ),
}
FITTING = {
    "pooled": ["unet3d", "unetr"],
    "residual_unet": ["unet3d", "uniformer"],
    "swin_unetr": ["swin_unetr"],
    "unetr": ["unetr"],
    "uniunet": ["uniformer", "two levels of one stride", "unet3d"],
}
PAIRS = [(head, network) for head, networks in FITTING.items() for network in networks]
EACH = pytest.mark.parametrize(("name", "network"), PAIRS)


def parts(name: str, network: str, channels: int = 1) -> tuple[Backbone, TaskHead]:
    torch.manual_seed(0)
    backbone = SMALL[network](channels)
    head = HEADS.get(name)(backbone, NUM_OUTPUTS)
    assert isinstance(head, TaskHead)
    return backbone, head


@torch.no_grad()
def example(backbone: Backbone, num: int = 1) -> tuple[Tensor, list[Tensor]]:
    """An image that is no cube, and its features."""
    size = (96, 32, 32) if backbone.strides[-1] == 32 else SIZE
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(num, backbone.in_channels, *size, generator=generator)
    return image, backbone(image)


def test_every_task_head_is_tested_here() -> None:
    ours = {name for name in HEADS.names() if issubclass(HEADS.get(name), TaskHead)}
    assert ours == set(FITTING)


@EACH
def test_the_contract_is_kept(name: str, network: str) -> None:
    check_head(HEADS.get(name), backbone=SMALL[network])


@EACH
def test_the_answer_has_the_shape_of_the_image_or_one_value_a_class(
    name: str, network: str
) -> None:
    backbone, head = parts(name, network, channels=4)
    image, features = example(backbone, num=2)
    answers = head(image, features)
    assert head.num_outputs == NUM_OUTPUTS
    size = () if name == "pooled" else image.shape[2:]
    assert [answer.shape for answer in answers] == [(2, NUM_OUTPUTS, *size)]


@EACH
def test_every_parameter_gets_a_gradient_that_lies_in_memory_like_it(
    name: str, network: str
) -> None:
    backbone, head = parts(name, network)
    image, features = example(backbone)
    torch.stack([a.square().sum() for a in head(image, features, auxiliary=True)]).sum().backward()
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []
    # Else distributed training warns and copies.
    strides = {
        name: (parameter.stride(), parameter.grad.stride())
        for name, parameter in head.named_parameters()
    }
    assert {name: pair for name, pair in strides.items() if pair[0] != pair[1]} == {}


@EACH
def test_what_can_start_from_pre_training_is_there_in_the_same_shape(
    name: str, network: str
) -> None:
    backbone, head = parts(name, network)
    kind: DecoderKind = "residual" if name == "residual_unet" else "transposed"
    decoder, own = build_decoder(backbone, kind).state_dict(), head.state_dict()
    names = head.pretrained_names()
    assert bool(names) == (name != "pooled")
    assert {n: own[n].shape for n in names} == {n: decoder[p].shape for n, p in names.items()}
