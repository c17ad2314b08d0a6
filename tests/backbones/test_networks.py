"""What every network of ours promises, and what is special to each."""

import pytest
import torch
from torch import nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.swin_unetr import SwinUNETR
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.unetr import UNETR
from brainmvp_lightning.backbones.uniformer import (
    UniFormer,
    UniFormerBase,
    UniFormerSmall,
    UniFormerTiny,
)
from brainmvp_lightning.backbones.uniformer_blocks import drop_path
from brainmvp_lightning.testing import check_backbone

SMALL = {
    "uniformer": lambda channels, **options: UniFormer(
        channels, widths=(8, 8, 16, 16), depths=(1, 1, 2, 1), head_width=8, **options
    ),
    "unet3d": lambda channels, **options: UNET3D(
        channels, widths=(8, 16), depths=(1, 2), **options
    ),
    "unetr": lambda channels, **options: UNETR(
        channels,
        image_size=(32, 32, 32),
        hidden_width=24,
        num_layers=4,
        num_heads=2,
        mlp_width=32,
        fine_width=2,
        **options,
    ),
    "swin_unetr": lambda channels, **options: SwinUNETR(
        channels, width=6, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2), window_size=2, **options
    ),
}
EACH = pytest.mark.parametrize("network", SMALL)
# Those of MONAI have no option for the layout in memory: their norms work on tokens.
EACH_WITH_LAYOUT = pytest.mark.parametrize("network", ["uniformer", "unet3d"])
REGISTERED = BACKBONES.names()
EACH_REGISTERED = pytest.mark.parametrize("name", REGISTERED)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(cls: type[Backbone], channels: int = 1) -> Backbone:
    with torch.device("meta"):
        return cls(channels)  # type: ignore[call-arg]


@EACH
def test_the_contract_is_kept(network: str) -> None:
    check_backbone(SMALL[network])


@EACH
def test_gradients_lie_in_memory_like_their_parameters(network: str) -> None:
    # Else distributed training warns and copies.
    backbone = SMALL[network](1)
    backbone(torch.rand(2, 1, 32, 32, 32))[-1].square().sum().backward()
    assert all(parameter.grad.stride() == parameter.stride() for parameter in backbone.parameters())


@EACH_WITH_LAYOUT
@pytest.mark.parametrize("is_training", [False, True])
def test_layout_in_memory_does_not_change_features_or_gradients(
    network: str, is_training: bool
) -> None:
    results = []
    for channels_last in (True, False):
        torch.manual_seed(0)
        backbone = SMALL[network](1, channels_last=channels_last).train(is_training)
        features = backbone(torch.rand(2, 1, 32, 32, 48, generator=torch.manual_seed(1)))
        features[-1].square().mean().backward()
        results.append([*features, *(parameter.grad for parameter in backbone.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@EACH_REGISTERED
def test_stems_are_the_tensors_whose_axis_1_is_the_channels_of_the_image(name: str) -> None:
    networks = [on_meta(BACKBONES.get(name), channels).state_dict() for channels in (3, 5)]
    few, many = networks
    changing = [tensor for tensor in few if few[tensor].shape != many[tensor].shape]
    assert changing == list(BACKBONES.get(name).stems)
    assert all(few[stem].shape[1] == 3 and many[stem].shape[1] == 5 for stem in changing)


@EACH_REGISTERED
def test_depth_groups_hold_each_parameter_once_from_stem_to_last_level(name: str) -> None:
    backbone = on_meta(BACKBONES.get(name))
    groups = backbone.depth_groups()
    grouped = [parameter for group in groups for parameter in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(backbone.parameters())
    assert set(map(backbone.get_parameter, backbone.stems)) <= set(groups[0])


def test_depth_groups_are_the_stages_and_the_final_norm_joins_the_last() -> None:
    backbone = SMALL["uniformer"](1)
    *groups, last = backbone.depth_groups()
    assert groups == [list(stage.parameters()) for stage in backbone.stages[:3]]
    assert last == [*backbone.stages[3].parameters(), *backbone.norm.parameters()]


@pytest.mark.parametrize(("network", "num_groups"), [("unetr", 4), ("swin_unetr", 4)])
def test_patch_embeddings_join_the_first_of_the_groups(network: str, num_groups: int) -> None:
    backbone = SMALL[network](1)
    groups = backbone.depth_groups()
    first, second = (list(stage.parameters()) for stage in backbone.stages[:2])
    assert len(groups) == num_groups
    assert groups[0][-len(first) :] == first
    assert len(groups[0]) > len(first)
    assert groups[1] == second


def test_a_backbone_without_stages_is_one_depth_group() -> None:
    class Stem(Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(1, 2, 1)

        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [self.conv(image)]

    backbone = Stem()
    assert backbone.depth_groups() == [[backbone.conv.weight, backbone.conv.bias]]


@pytest.mark.parametrize(
    ("cls", "millions"),
    [
        (UniFormerTiny, 0.56),
        (UniFormerSmall, 22.04),
        (UniFormerBase, 50.45),
        (UNET3D, 17.59),
        (UNETR, 88.34),
        (SwinUNETR, 8.06),
    ],
)
def test_parameter_counts(cls: type[Backbone], millions: float) -> None:
    assert num_parameters(on_meta(cls)) / 1e6 == pytest.approx(millions, abs=0.1)


def test_variants_are_registered_and_keep_the_other_options() -> None:
    assert {"uniformer_tiny", "uniformer_small", "uniformer_base", "unet3d"} <= set(REGISTERED)
    assert UniFormerTiny(1, drop_path=0.2).stages[3].blocks[1].drop_path == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_width": 48}, "head_width 48 does not divide"),
        ({"drop_path": 1.0}, r"chance in \[0, 1\)"),
        ({"widths": (8, 8, 64)}, "four widths and four depths"),
        ({"depths": (1, 1, 1, 0)}, "four widths and four depths"),
    ],
)
def test_impossible_uniformers_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UniFormer(1, **options)  # type: ignore[arg-type]


def test_unet3d_needs_a_depth_for_each_width() -> None:
    with pytest.raises(ValueError, match="one width and one depth"):
        UNET3D(1, widths=(8, 16), depths=(1,))


def test_drop_path_keeps_the_expectation_and_whole_samples() -> None:
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 2, 3), 0.25)
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(dropped.amin(dim=(1, 2)), dropped.amax(dim=(1, 2)))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)


def test_drop_path_of_zero_leaves_the_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    branch = torch.ones(2, 3)
    assert drop_path(branch, 0.0) is branch
    assert torch.equal(before, torch.get_rng_state())


def test_the_last_stage_of_the_tiny_variant_keeps_the_resolution() -> None:
    features = UniFormerTiny(1)(torch.rand(1, 1, 16, 16, 32))
    assert UniFormerTiny(1).strides == (2, 4, 8, 8)
    assert [tuple(level.shape[2:]) for level in features[2:]] == [(2, 2, 4)] * 2
