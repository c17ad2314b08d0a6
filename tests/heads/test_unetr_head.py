"""UNETR's decoder: MONAI's network, in parts."""

import pytest
import torch
from monai.networks import nets

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.unetr import UNETR
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.heads.unetr import UNETRHead

SIZE = (16, 32, 48)


def parts() -> tuple[UNETR, UNETRHead]:
    backbone = UNETR(2, image_size=SIZE, hidden_width=12, num_heads=2, mlp_width=16, fine_width=2)
    return backbone, UNETRHead(backbone, 3)


def test_backbone_and_head_compute_what_monai_does_with_the_same_weights() -> None:
    torch.manual_seed(0)
    theirs = nets.UNETR(2, 3, SIZE, feature_size=2, hidden_size=12, mlp_dim=16, num_heads=2)
    weights = {k: v for k, v in theirs.state_dict().items() if "cross_attn" not in k}
    backbone, head = parts()
    backbone.load_state_dict({k: v for k, v in weights.items() if k.startswith("vit.")})
    head.load_state_dict({k: v for k, v in weights.items() if not k.startswith("vit.")})
    image = torch.rand(2, 2, *SIZE)
    answers = head(image, backbone(image))
    assert len(answers) == 1
    assert (answers[0] - theirs(image)).abs().max() < 1e-5


def test_every_parameter_gets_a_gradient() -> None:
    backbone, head = parts()
    image = torch.rand(1, 2, 32, 16, 16)  # not the size the positions are made for
    (answer,) = head(image, backbone(image), auxiliary=True)
    assert answer.shape == (1, 3, 32, 16, 16)
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


@pytest.mark.parametrize("name", ["unet3d", "swin_unetr", "uniformer_tiny"])
def test_another_backbone_is_refused_with_the_head_that_fits_it(name: str) -> None:
    with torch.device("meta"):
        backbone = BACKBONES.get(name)(1)
    with pytest.raises(ValueError, match=f"use head {backbone.segmentation_head}$"):
        UNETRHead(backbone, 3)


def test_unetr_names_this_head() -> None:
    assert HEADS.implementation(UNETR.segmentation_head) is UNETRHead
