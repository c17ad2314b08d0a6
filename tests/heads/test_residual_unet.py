"""ResidualUnet: the reconstruction decoder of UNET3D with levels added."""

import pytest
import torch

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.heads.decoders import ResidualDecoder
from brainmvp_lightning.heads.residual_unet import ResidualUnet

NETWORKS = {
    "unet3d": lambda: UNET3D(1, widths=(8, 16, 24), depths=(1, 1, 1)),
    "uniformer": lambda: UniFormer(1, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8),
}
IMAGE = torch.rand(1, 1, 16, 32, 16, generator=torch.Generator().manual_seed(0))


def with_identical_blocks(backbone: Backbone) -> ResidualUnet:
    """A head whose residual blocks hand on what they get, and whose convolutions copy."""
    head = ResidualUnet(backbone, 1)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name.startswith(("up.", "out.")):
                parameter.fill_(float(name.endswith("weight")))
            elif "conv2" in name:
                parameter.zero_()
    return head


def test_levels_are_added_after_up_sampling() -> None:
    backbone = UNET3D(1, widths=(1, 1, 1), depths=(1, 1, 1))
    head = with_identical_blocks(backbone)
    features = [
        torch.full((1, 1, side, side, side), value)
        for side, value in ((8, 1.0), (4, 10.0), (2, 100.0))
    ]
    assert head(IMAGE, features)[0].eq(111).all()
    corner = torch.zeros(1, 1, 2, 2, 2)
    corner[..., 0, 0, 0] = 1
    answer = head(IMAGE, [torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 4, 4, 4), corner])[0]
    assert answer.sum() == 4**3  # nearest neighbours
    assert answer[..., :4, :4, :4].eq(1).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_without_finer_levels_it_is_the_reconstruction_decoder(network: str) -> None:
    backbone = NETWORKS[network]()
    decoder, head = ResidualDecoder(backbone), ResidualUnet(backbone, 1)
    head.load_state_dict(decoder.state_dict(), strict=False)
    features = [torch.zeros_like(level) for level in backbone(IMAGE)[:-1]] + [backbone(IMAGE)[-1]]
    assert torch.equal(head(IMAGE, features)[0], decoder(features))


@pytest.mark.parametrize("network", NETWORKS)
def test_all_but_the_last_layer_of_the_reconstruction_decoder_fits(network: str) -> None:
    backbone = NETWORKS[network]()
    names = ResidualUnet(backbone, 3).pretrained_names()
    decoder = ResidualDecoder(backbone).state_dict()
    assert names == {name: name for name in decoder if not name.startswith("out.")}


def test_auxiliary_answers_come_from_quarter_and_half_resolution() -> None:
    backbone = NETWORKS["uniformer"]()
    head = ResidualUnet(backbone, 3)
    assert [layer.in_channels for layer in head.auxiliary] == [8, 8]
    sizes: list[tuple[int, ...]] = []
    for layer in head.auxiliary:
        layer.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape[2:])))
    head(IMAGE, backbone(IMAGE), auxiliary=True)
    assert sizes == [(4, 8, 4), (8, 16, 8)]
    assert ResidualUnet(backbone, 3, num_auxiliary=0).num_auxiliary == 0


@pytest.mark.parametrize(("name", "other"), [("uniformer_tiny", "uniunet"), ("unetr", "unetr")])
def test_levels_of_one_stride_are_refused_with_a_head_that_takes_them(
    name: str, other: str
) -> None:
    with torch.device("meta"):
        backbone = BACKBONES.get(name)(1)
    with pytest.raises(ValueError, match=f"one level a resolution.*use head {other}$"):
        ResidualUnet(backbone, 3)
