"""The decoders of UNETR and Swin UNETR: with their backbones, MONAI's networks in parts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.swin_unetr import SwinUNETR
from brainmvp_lightning.backbones.unetr import UNETR
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.heads.swin_unetr import SwinUNETRHead
from brainmvp_lightning.heads.unetr import UNETRHead


@dataclass(frozen=True)
class Pair:
    """A backbone of two channels, its head, and MONAI's network of both."""

    backbone: Callable[[], Backbone]
    head: type[TaskHead]
    theirs: Callable[[], nn.Module]
    prefix: str
    """Of what is the backbone in MONAI's network."""
    size: tuple[int, int, int]
    other_size: tuple[int, int, int]

    def build(self) -> tuple[Backbone, TaskHead]:
        backbone = self.backbone()
        return backbone, self.head(backbone, 3)


def swin_unetr(window_size: int) -> Pair:
    options: Any = {"depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 2), "window_size": window_size}
    ours = partial(SwinUNETR, 2, width=12, **options)
    theirs = partial(nets.SwinUNETR, 2, 3, feature_size=12, **options)
    return Pair(ours, SwinUNETRHead, theirs, "swinViT.", (32, 64, 32), (64, 32, 32))


def unetr() -> Pair:
    size = (16, 32, 48)  # what the positions are made for
    widths: Any = {"hidden_width": 12, "mlp_width": 16, "fine_width": 2}
    their_widths: Any = {"hidden_size": 12, "mlp_dim": 16, "feature_size": 2}
    ours = partial(UNETR, 2, image_size=size, num_heads=2, **widths)
    theirs = partial(nets.UNETR, 2, 3, size, num_heads=2, **their_widths)
    return Pair(ours, UNETRHead, theirs, "vit.", size, (32, 16, 16))


PAIRS = {"unetr": unetr(), "swin_unetr": swin_unetr(2)}
EACH = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


@pytest.mark.parametrize(
    "pair",
    [*PAIRS.values(), swin_unetr(7)],
    ids=[*PAIRS, "swin_unetr, windows larger than its maps"],
)
def test_backbone_and_head_compute_what_monai_does_with_the_same_weights(pair: Pair) -> None:
    torch.manual_seed(0)
    theirs = pair.theirs()
    weights = {k: v for k, v in theirs.state_dict().items() if "cross_attn" not in k}
    backbone, head = pair.build()
    backbone.load_state_dict({k: v for k, v in weights.items() if k.startswith(pair.prefix)})
    head.load_state_dict({k: v for k, v in weights.items() if not k.startswith(pair.prefix)})
    image = torch.rand(2, 2, *pair.size)
    answers = head(image, backbone(image))
    assert len(answers) == 1
    assert (answers[0] - theirs(image)).abs().max() < 1e-5


@EACH
def test_every_parameter_gets_a_gradient_from_an_image_of_another_size(pair: Pair) -> None:
    backbone, head = pair.build()
    image = torch.rand(1, 2, *pair.other_size)
    (answer,) = head(image, backbone(image), auxiliary=True)
    assert answer.shape == (1, 3, *pair.other_size)
    answer.square().sum().backward()
    parameters = [*backbone.named_parameters(), *head.named_parameters()]
    assert [name for name, parameter in parameters if parameter.grad is None] == []


@EACH
def test_all_transposed_convolutions_of_the_reconstruction_decoder_fit(pair: Pair) -> None:
    backbone, head = pair.build()
    decoder = build_decoder(backbone).state_dict()
    names = head.pretrained_names()
    assert set(names.values()) == {name for name in decoder if name.startswith("up.")}
    for own, pretrained in names.items():
        assert head.get_parameter(own).shape == decoder[pretrained].shape


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (pair.head, name)
        for own, pair in PAIRS.items()
        for name in ("unet3d", "unetr", "swin_unetr", "uniformer_tiny")
        if name != own
    ],
)
def test_another_backbone_is_refused_with_the_head_that_fits_it(
    head: type[TaskHead], name: str
) -> None:
    with torch.device("meta"):
        backbone = BACKBONES.get(name)(1)
    with pytest.raises(ValueError, match=f"use head {backbone.segmentation_head}$"):
        head(backbone, 3)


@EACH
def test_each_backbone_names_its_head(pair: Pair) -> None:
    assert HEADS.implementation(pair.backbone().segmentation_head) is pair.head


def test_a_crop_whose_coarsest_level_is_one_voxel_is_refused() -> None:
    backbone, head = PAIRS["swin_unetr"].build()
    image = torch.rand(1, 2, 32, 32, 32)
    with pytest.raises(ValueError, match="one side must exceed 32 voxels"):
        head(image, backbone(image))
