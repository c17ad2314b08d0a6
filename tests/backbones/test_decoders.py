import pytest
import torch

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.uniformer import UniFormer, UniFormerSmall
from brainmvp_lightning.heads.decoders import (
    DecoderKind,
    ResidualDecoder,
    TransposedDecoder,
    build_decoder,
    decoder_widths,
)

UNIFORMER = UniFormer(1, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8)
UNET = UNET3D(1, widths=(8, 16), depths=(1, 1))


def on_meta(cls: type[UniFormerSmall] | type[UNET3D]) -> Backbone:
    with torch.device("meta"):
        return cls(1)


@pytest.mark.parametrize("backbone", [UNIFORMER, UNET])
@pytest.mark.parametrize("kind", ["transposed", "residual"])
def test_any_decoder_rebuilds_the_image_size_of_any_pyramid(
    backbone: Backbone, kind: DecoderKind
) -> None:
    decoder = build_decoder(backbone, kind)
    assert decoder(backbone(torch.rand(2, 1, 16, 32, 48))).shape == (2, 1, 16, 32, 48)


@pytest.mark.parametrize("backbone", [UNIFORMER, UNET])
@pytest.mark.parametrize("kind", ["transposed", "residual"])
def test_every_parameter_gets_a_gradient(backbone: Backbone, kind: DecoderKind) -> None:
    decoder = build_decoder(backbone, kind)
    decoder(backbone(torch.rand(2, 1, 16, 16, 32))).square().mean().backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None] == []


def test_paired_takes_the_decoder_of_the_authors() -> None:
    assert isinstance(build_decoder(UNIFORMER), TransposedDecoder)
    assert isinstance(build_decoder(UNET, "paired"), ResidualDecoder)


def test_published_widths_and_parameter_counts() -> None:
    assert decoder_widths(on_meta(UniFormerSmall)) == [512, 320, 128, 64, 64]
    assert decoder_widths(on_meta(UNET3D)) == [256, 128, 64, 32]
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in build_decoder(on_meta(cls)).parameters())
            for cls in (UniFormerSmall, UNET3D)
        ]
    assert counts[0] / 1e6 == pytest.approx(1.74, abs=0.005)
    unet3d = sum(p.numel() for p in on_meta(UNET3D).parameters())
    assert (counts[1] + unet3d) / 1e6 == pytest.approx(18.8, abs=0.01)


def test_an_unknown_decoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose one of: paired, transposed, residual"):
        build_decoder(UNET, "skip")  # type: ignore[arg-type]
