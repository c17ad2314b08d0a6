"""UniUnet: merges, auxiliary answers, and the pyramids it takes or refuses."""

import math

import pytest
import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.uniformer import UniFormerSmall
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.heads.uniunet import UniUnet
from tests.golden import stand_ins


class Pyramid(Backbone):
    """Levels of given strides, 4 channels wide."""

    def __init__(self, *strides: int) -> None:
        super().__init__()
        self.in_channels = 2
        self.strides = strides
        self.feature_channels = (4,) * len(strides)

    def forward(self, image: Tensor) -> list[Tensor]:
        sizes = [[side // stride for side in image.shape[2:]] for stride in self.strides]
        return [torch.randn(len(image), 4, *size) for size in sizes]


def on_meta(name: str) -> Backbone:
    with torch.device("meta"):
        return BACKBONES.get(name)(1)


@pytest.mark.parametrize(
    ("strides", "factors", "num_auxiliary"),
    [
        ((2, 4, 8), [2, 2, 2], 2),
        ((2, 4, 8, 8), [1, 2, 2, 2], 3),
        ((1, 2, 2), [1, 2], 1),
        ((4, 8), [2, 4], 1),
        ((1, 2, 4, 8, 16), [2, 2, 2, 2], 3),
        ((16,), [16], 0),
        ((1,), [], 0),
    ],
)
def test_each_level_is_merged_with_the_next_finer_one(
    strides: tuple[int, ...], factors: list[int], num_auxiliary: int
) -> None:
    backbone = Pyramid(*strides)
    head = UniUnet(backbone, 3, num_auxiliary=9)
    assert [up.transp_conv.conv.stride[0] for up in head.up] == factors
    assert head.num_auxiliary == num_auxiliary
    image = torch.rand(1, 2, 16, 32, 16)
    answers = head(image, backbone(image), auxiliary=True)
    assert [answer.shape for answer in answers] == [(1, 3, 16, 32, 16)] * (1 + num_auxiliary)


def test_the_image_is_projected_unless_a_level_has_its_resolution() -> None:
    assert UniUnet(Pyramid(2, 4), 3).project is not None
    assert UniUnet(Pyramid(1, 2), 3).project is None


def test_the_projection_is_normalised_over_the_channels_of_each_voxel() -> None:
    project = UniUnet(Pyramid(2, 4), 3).project
    assert project is not None
    projected = project(torch.rand(2, 2, 8, 8, 8))
    assert projected.mean(dim=1).abs().max() < 1e-5
    assert projected.var(dim=1, correction=0).mean().item() == pytest.approx(1, abs=0.01)


def test_auxiliary_answers_come_from_quarter_and_half_resolution() -> None:
    backbone = Pyramid(2, 4, 8, 16)
    head = UniUnet(backbone, 3)
    maps: list[Tensor] = []
    for layer in head.auxiliary:
        layer.register_forward_hook(lambda *call: maps.append(call[2]))
    image = torch.rand(1, 2, 32, 32, 64)
    answers = head(image, backbone(image), auxiliary=True)
    assert [tuple(level.shape[2:]) for level in maps] == [(8, 8, 16), (16, 16, 32)]
    for answer, level in zip(answers[1:], maps, strict=True):
        # Aligned corners: the first and the last voxel keep their values.
        assert torch.allclose(answer[..., 0, 0, 0], level[..., 0, 0, 0], atol=1e-6)
        assert torch.allclose(answer[..., -1, -1, -1], level[..., -1, -1, -1], atol=1e-6)


def test_without_auxiliary_answers_no_parameter_is_unused() -> None:
    backbone = Pyramid(2, 4, 8)
    head = UniUnet(backbone, 3, num_auxiliary=0)
    image = torch.rand(1, 2, 16, 16, 16)
    (answer,) = head(image, backbone(image), auxiliary=True)
    answer.square().sum().backward()
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


def test_it_has_as_many_parameters_as_the_published_decoder() -> None:
    with torch.device("meta"):
        head = UniUnet(UniFormerSmall(4), 3)
    published = [
        math.prod(shape)
        for name, shape in stand_ins.shapes("uniunet").items()
        if not name.startswith("encoder.")
    ]
    assert sorted(parameter.numel() for parameter in head.parameters()) == sorted(published)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("uniformer_small", {0: 0, 1: 1, 2: 2, 3: 3}),
        # Its two coarsest levels have stride 8; pre-training leaves the finer of them out.
        ("uniformer_tiny", {2: 1, 3: 2}),
        ("unet3d", {0: 0, 1: 1, 2: 2}),
    ],
)
def test_transposed_convolutions_of_the_reconstruction_decoder_fit(
    name: str, taken: dict[int, int]
) -> None:
    backbone = on_meta(name)
    with torch.device("meta"):
        own = UniUnet(backbone, 3)
        decoder = build_decoder(backbone, "transposed").state_dict()
    names = own.pretrained_names()
    assert names == {f"up.{a}.transp_conv.conv.weight": f"up.{b}.weight" for a, b in taken.items()}
    assert all(own.get_parameter(n).shape == decoder[p].shape for n, p in names.items())


@pytest.mark.parametrize(
    ("strides", "message"),
    [
        ((16, 16, 16, 16), r"all 4 levels of Pyramid have stride 16; use head unetr$"),
        ((2, 6), r"powers of two, the finest level first; Pyramid has \[2, 6\]$"),
        ((4, 2), r"powers of two, the finest level first; Pyramid has \[4, 2\]$"),
    ],
)
def test_other_pyramids_are_refused(strides: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UniUnet(Pyramid(*strides), 3)


def test_a_negative_number_of_auxiliary_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="num_auxiliary must not be negative, got -1"):
        UniUnet(Pyramid(2, 4), 3, num_auxiliary=-1)


def test_a_crop_too_small_to_normalise_is_refused() -> None:
    backbone = Pyramid(2, 4, 8, 8)
    head, image = UniUnet(backbone, 3), torch.rand(1, 2, 8, 8, 8)
    with pytest.raises(ValueError, match=r"single voxel for an image of \(8, 8, 8\); enlarge"):
        head(image, backbone(image))
