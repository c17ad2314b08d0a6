"""Swin UNETR's decoder: MONAI's network, in parts."""

import pytest
import torch
from monai.networks import nets

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.swin_unetr import SwinUNETR
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.heads.swin_unetr import SwinUNETRHead


def parts(window_size: int = 2) -> tuple[SwinUNETR, SwinUNETRHead]:
    backbone = SwinUNETR(
        2, width=12, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2), window_size=window_size
    )
    return backbone, SwinUNETRHead(backbone, 3)


@pytest.mark.parametrize("window_size", [2, 7])
def test_backbone_and_head_compute_what_monai_does_with_the_same_weights(window_size: int) -> None:
    torch.manual_seed(0)
    theirs = nets.SwinUNETR(
        2,
        3,
        feature_size=12,
        depths=(1, 2, 1, 1),
        num_heads=(1, 2, 2, 2),
        window_size=window_size,
    )
    weights = theirs.state_dict()
    backbone, head = parts(window_size)
    backbone.load_state_dict({k: v for k, v in weights.items() if k.startswith("swinViT.")})
    head.load_state_dict({k: v for k, v in weights.items() if not k.startswith("swinViT.")})
    image = torch.rand(1, 2, 32, 64, 32)
    answers = head(image, backbone(image))
    assert len(answers) == 1
    assert (answers[0] - theirs(image)).abs().max() < 1e-5


def test_every_parameter_gets_a_gradient() -> None:
    backbone, head = parts()
    image = torch.rand(1, 2, 64, 32, 32)
    (answer,) = head(image, backbone(image), auxiliary=True)
    assert answer.shape == (1, 3, 64, 32, 32)
    answer.square().sum().backward()
    parameters = [*backbone.named_parameters(), *head.named_parameters()]
    assert [name for name, parameter in parameters if parameter.grad is None] == []


def test_all_transposed_convolutions_of_the_reconstruction_decoder_fit() -> None:
    backbone, head = parts()
    decoder = build_decoder(backbone).state_dict()
    names = head.pretrained_names()
    assert set(names.values()) == {name for name in decoder if name.startswith("up.")}
    for own, pretrained in names.items():
        assert head.get_parameter(own).shape == decoder[pretrained].shape


def test_a_crop_whose_coarsest_level_is_one_voxel_is_refused() -> None:
    backbone, head = parts()
    image = torch.rand(1, 2, 32, 32, 32)
    with pytest.raises(ValueError, match="one side must exceed 32 voxels"):
        head(image, backbone(image))


@pytest.mark.parametrize("name", ["unet3d", "unetr", "uniformer_tiny"])
def test_another_backbone_is_refused_with_the_head_that_fits_it(name: str) -> None:
    with torch.device("meta"):
        backbone = BACKBONES.get(name)(1)
    with pytest.raises(ValueError, match=f"use head {backbone.segmentation_head}$"):
        SwinUNETRHead(backbone, 3)


def test_swin_unetr_names_this_head() -> None:
    assert HEADS.implementation(SwinUNETR.segmentation_head) is SwinUNETRHead
