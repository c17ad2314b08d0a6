"""Our networks, with imported weights, compute what the published ones do."""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.uniformer import UniFormer, UniFormerSmall
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.weights.load import load_report
from brainmvp_lightning.weights.published import translate
from tests.golden import plain, stand_ins

TOLERANCE = 1e-5  # the requirement is 1e-4
NON_CUBIC = (1, 1, 32, 48, 16)


def load(network: str, backbone: Backbone, shrink: int = 1) -> tuple[Backbone, nn.Module]:
    """Import a stand-in checkpoint into a backbone and its decoder."""
    tensors = translate(stand_ins.checkpoint(network, shrink, with_templates=False)).tensors
    decoder = build_decoder(backbone)
    for part, module in (("encoder.", backbone), ("decoder.", decoder)):
        report = load_report(module, tensors, prefix=part, minimum=1.0)
        assert not report.unused
    return backbone.eval(), decoder.eval()


@pytest.fixture
def all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@torch.no_grad()
def uniformer_outputs(num_samples: int) -> dict[str, Tensor]:
    backbone, decoder = load("uniformer", UniFormerSmall(1))
    stages = backbone(stand_ins.image((2, 1, 96, 96, 96))[:num_samples])
    named = {f"stage{number}": level for number, level in enumerate(stages, start=1)}
    return {**named, "reconstruction": decoder(stages)}


@torch.no_grad()
def unet3d_outputs(num_samples: int) -> dict[str, Tensor]:
    backbone, decoder = load("unet3d", UNET3D(1))
    outputs: dict[str, Tensor] = {}
    for number in (1, 2, 3):
        entry = backbone.stages[number].entry  # type: ignore[union-attr, index]
        entry.register_forward_hook(  # type: ignore[union-attr]
            lambda *call, name=f"stage{number}": outputs.update({name: call[2]})
        )
    levels = backbone(stand_ins.image((2, 1, 96, 96, 96))[:num_samples])
    return {**outputs, "stage4": levels[-1], "reconstruction": decoder(levels)}


OUTPUTS = {"uniformer": uniformer_outputs, "unet3d": unet3d_outputs}
NAMES = ["stage1", "stage2", "stage3", "stage4", "reconstruction"]


@pytest.mark.usefixtures("all_cores")
@pytest.mark.parametrize("network", OUTPUTS)
def test_first_sample_agrees_with_the_published_network(network: str) -> None:
    outputs = OUTPUTS[network](1)
    errors = {name: stand_ins.relative_error(network, name, outputs[name]) for name in NAMES}
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
@pytest.mark.parametrize("network", OUTPUTS)
def test_whole_batch_agrees_with_the_published_network(network: str) -> None:
    outputs = OUTPUTS[network](2)
    errors = {name: stand_ins.relative_error(network, name, outputs[name]) for name in NAMES}
    norms = {name: stand_ins.relative_norm_error(network, name, outputs[name]) for name in NAMES}
    assert max(errors.values()) < TOLERANCE, errors
    assert max(norms.values()) < TOLERANCE, norms


@torch.no_grad()
def test_uniformer_agrees_with_its_formulas_on_a_non_cubic_image() -> None:
    backbone, decoder = load("uniformer", UniFormer(1, widths=(16, 32, 80, 128), head_width=16), 4)
    image = stand_ins.image(NON_CUBIC)
    expected, rebuilt = plain.uniformer(stand_ins.checkpoint("uniformer", 4), image, head_width=16)
    features = backbone(image)
    assert_close([*features, decoder(features)], [*expected, rebuilt])


@torch.no_grad()
def test_unet3d_agrees_with_its_formulas_on_a_non_cubic_image() -> None:
    backbone, decoder = load("unet3d", UNET3D(1, widths=(8, 16, 32, 64)), 4)
    image = stand_ins.image(NON_CUBIC)
    expected, rebuilt = plain.unet3d(stand_ins.checkpoint("unet3d", 4), image)
    features = backbone(image)
    assert_close([*features, decoder(features)], [*expected, rebuilt])


def assert_close(ours: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(ours, expected, strict=True):
        assert (one - other).abs().max() < TOLERANCE * other.abs().max()
