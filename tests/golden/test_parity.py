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
from brainmvp_lightning.heads.uniunet import UniUnet
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


def load_fine_tuned(backbone: Backbone, shrink: int = 1) -> tuple[Backbone, UniUnet]:
    """Import the stand-in checkpoint of the fine-tuning network."""
    translation = translate(stand_ins.checkpoint("uniunet", shrink))
    head = UniUnet(backbone, 3)
    assert not load_report(backbone, translation.tensors, prefix="encoder.", minimum=1.0).unused
    assert not load_report(head, translation.head, prefix="head.", minimum=1.0).unused
    return backbone.eval(), head.eval()


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


@torch.no_grad()
def uniunet_outputs(num_samples: int) -> dict[str, Tensor]:
    backbone, head = load_fine_tuned(UniFormerSmall(4))
    image = stand_ins.image((2, 4, 96, 96, 96))[:num_samples]
    answers = head(image, backbone(image), auxiliary=True)
    return dict(zip(("logits", "deep4", "deep2"), answers, strict=True))


OUTPUTS = {"uniformer": uniformer_outputs, "unet3d": unet3d_outputs, "uniunet": uniunet_outputs}
NUM_OUTPUTS = {"uniformer": 5, "unet3d": 5, "uniunet": 3}


@pytest.mark.usefixtures("all_cores")
@pytest.mark.parametrize(
    "network", ["uniformer", "unet3d", pytest.param("uniunet", marks=pytest.mark.slow)]
)
def test_first_sample_agrees_with_the_published_network(network: str) -> None:
    outputs = OUTPUTS[network](1)
    errors = {name: stand_ins.relative_error(network, name, outputs[name]) for name in outputs}
    assert len(errors) == NUM_OUTPUTS[network]
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
@pytest.mark.parametrize("network", OUTPUTS)
def test_whole_batch_agrees_with_the_published_network(network: str) -> None:
    outputs = OUTPUTS[network](2)
    errors = {name: stand_ins.relative_error(network, name, outputs[name]) for name in outputs}
    norms = {name: stand_ins.relative_norm_error(network, name, outputs[name]) for name in outputs}
    assert len(errors) == NUM_OUTPUTS[network]
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


@torch.no_grad()
def test_uniunet_agrees_with_its_formulas_on_a_non_cubic_image() -> None:
    backbone, head = load_fine_tuned(UniFormer(4, widths=(16, 32, 80, 128), head_width=16), 4)
    image = stand_ins.image((1, 4, 32, 48, 16))
    expected = plain.uniunet(stand_ins.checkpoint("uniunet", 4), image, head_width=16)
    assert_close(head(image, backbone(image), auxiliary=True), expected)


def test_only_the_projection_among_the_tensors_of_the_head_is_turned() -> None:
    tensors = stand_ins.checkpoint("uniunet", 4)
    head = translate(tensors).head
    kernel = tensors["decoder.proj1.proj.weight"]
    assert torch.equal(head["head.project.conv.weight"], kernel.permute(0, 1, 3, 4, 2))
    kernel = tensors["decoder.decoder4.conv_block.conv1.conv.weight"]
    assert torch.equal(head["head.up.1.conv_block.conv1.conv.weight"], kernel)
    assert len(head) == 26


def assert_close(ours: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(ours, expected, strict=True):
        assert (one - other).abs().max() < TOLERANCE * other.abs().max()
