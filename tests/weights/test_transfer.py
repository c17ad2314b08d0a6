from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.swin_unetr import SwinUNETR
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.unetr import UNETR
from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.heads.uniunet import UniUnet
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.sources import WeightSource, open_source
from brainmvp_lightning.weights.transfer import TransferOptions, TransferReport, transfer
from tests.weights.files import backbone, head, same, spec, write_fine_tuned, write_pretraining

FOUR = ("t1", "t1ce", "t2", "flair")
STEM = "stages.0.entry.weight"


@pytest.fixture
def pretrained(tmp_path: Path) -> WeightSource:
    write_pretraining(tmp_path / "last.ckpt")
    return open_source(tmp_path / "last.ckpt")


def statuses(report: TransferReport) -> dict[str, str]:
    return {f"{fate.part}.{fate.name}": fate.status for fate in report.fates}


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_an_inflated_network_answers_equal_channels_as_the_pretrained_one(
    pretrained: WeightSource,
) -> None:
    one, four = backbone(1), backbone(4)
    transfer(one, None, pretrained, ("t1",))
    report = transfer(four, None, pretrained, FOUR)
    image = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = one(image), four(image.expand(-1, 4, -1, -1, -1))
    for expected, found in zip(before, after, strict=True):
        assert torch.allclose(expected, found, atol=1e-5)
    assert report.coverage == 1.0
    assert statuses(report)[f"backbone.{STEM}"] == "adapted"


def test_reconstruction_decoder_and_head_share_their_tensors_to_the_last_bit(
    pretrained: WeightSource,
) -> None:
    network = backbone(4)
    answering = head(network)
    report = transfer(network, answering, pretrained, FOUR)
    own, names = answering.state_dict(), answering.pretrained_names()
    assert len(names) > 5
    for name, source in names.items():
        assert torch.equal(own[name], pretrained.decoder[source])
        assert statuses(report)[f"head.{name}"] == "loaded"
    assert statuses(report)["head.out.weight"] == "missing"
    assert "decoder.out.weight" in report.unused


def test_the_head_starts_afresh_if_asked_so(pretrained: WeightSource) -> None:
    network = backbone(4)
    answering = head(network)
    before = state(answering)
    report = transfer(network, answering, pretrained, FOUR, TransferOptions(decoder=False))
    assert same(before, answering.state_dict())
    assert report.coverage == 1.0


def test_a_fine_tuned_network_goes_on_where_it_was(tmp_path: Path) -> None:
    network = write_fine_tuned(tmp_path / "best.ckpt", FOUR)
    reader = backbone(4)
    answering = head(reader)
    source = open_source(tmp_path / "best.ckpt")
    report = transfer(reader, answering, source, FOUR, spec=spec(FOUR))
    assert not report.notes
    assert same(reader.state_dict(), network["backbone"].state_dict())  # type: ignore[index]
    assert same(answering.state_dict(), network["head"].state_dict())  # type: ignore[index]
    assert set(statuses(report).values()) == {"loaded"}
    assert not report.unused


def test_other_outputs_keep_all_of_the_head_but_the_last_layer(tmp_path: Path) -> None:
    write_fine_tuned(tmp_path / "best.ckpt", FOUR)
    reader = backbone(4)
    report = transfer(reader, head(reader, 5), open_source(tmp_path / "best.ckpt"), FOUR)
    left = {name for name, status in statuses(report).items() if status != "loaded"}
    assert left == {"head.out.weight", "head.out.bias"}
    assert "out.weight (3x8x1x1x1 in the file, 5x8x1x1x1 here)" in str(report)


def test_each_modality_finds_its_kernel(tmp_path: Path) -> None:
    network = write_fine_tuned(tmp_path / "best.ckpt", FOUR)
    kernel = network["backbone"].state_dict()[STEM]  # type: ignore[index]
    source = open_source(tmp_path / "best.ckpt")
    pair = backbone(2)
    transfer(pair, None, source, ("flair", "adc"), TransferOptions(stem="per_modality"))
    found = pair.state_dict()[STEM]
    assert torch.equal(found[:, 0], kernel[:, 3])
    assert torch.equal(found[:, 1], kernel.mean(dim=1))


class UniUnetWithStem(UniUnet):
    stems = ("project.conv.weight",)


def test_the_first_layer_of_a_head_follows_the_modalities_too() -> None:
    def networks(channels: int) -> tuple[UniFormer, UniUnet]:
        reader = UniFormer(channels, widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), head_width=4)
        return reader, UniUnetWithStem(reader, 3)

    old, new = networks(4), networks(3)
    manifest = {**spec(FOUR), "backbone": {}, "head": {"class_path": "UniUnetWithStem"}}
    source = WeightSource(
        Path("x"),
        "fine_tuned",
        "made up",
        state(old[0]),
        head=state(old[1]),
        modalities=FOUR,
        manifest=manifest,
    )
    options = TransferOptions(stem="per_modality")
    report = transfer(*new, source, ("flair", "t1", "adc"), options, manifest)
    kernel, found = (net[1].state_dict()["project.conv.weight"] for net in (old, new))
    assert torch.equal(found[:, 0], kernel[:, 3])
    assert torch.equal(found[:, 1], kernel[:, 0])
    assert torch.equal(found[:, 2], kernel.mean(dim=1))
    assert statuses(report)["head.project.conv.weight"] == "adapted"
    assert set(statuses(report).values()) == {"loaded", "adapted"}


def test_a_stem_that_is_left_as_initialised_does_not_count(pretrained: WeightSource) -> None:
    network = backbone(4)
    before = state(network)
    report = transfer(network, None, pretrained, FOUR, TransferOptions(stem="reinit", minimum=1.0))
    assert torch.equal(network.state_dict()[STEM], before[STEM])
    assert statuses(report)[f"backbone.{STEM}"] == "reinitialised"
    assert report.coverage == 1.0


@pytest.mark.parametrize("options", [{"stem": "mean"}, {"minimum": 90}, {"minimum": -0.1}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stem is 'mean'; use|a share from 0 to 1"):
        TransferOptions(**options)


def test_another_network_is_refused_in_one_sentence_and_nothing_changed(
    pretrained: WeightSource,
) -> None:
    network = UniFormer(4, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8)
    answering = UniUnet(network, 3)
    before = state(network), state(answering)
    with pytest.raises(WeightsError) as caught:
        transfer(network, answering, pretrained, FOUR)
    message = str(caught.value)
    assert "holds unet3d (widths [8, 16], depths [1, 1]) (checkpoint of a pre-training)" in message
    assert "fills only 0.0% of UniFormer (" in message
    assert "90% are asked for; choose the backbone" in message
    assert "\n" not in message
    assert same(before[0], network.state_dict())
    assert same(before[1], answering.state_dict())


def test_a_deeper_network_is_refused_though_it_would_fill_all() -> None:
    deeper = UNET3D(1, widths=(8, 16), depths=(1, 2))
    source = WeightSource(Path("x"), "encoder", "made up", state(deeper))
    network = backbone(1)
    before = state(network)
    # 20 of 28 tensors have a place: a block has eight.
    with pytest.raises(WeightsError, match=r"only 71\.4% have a place in UNET3D \(8 have none"):
        transfer(network, None, source, ("t1",))
    assert same(before, network.state_dict())
    assert transfer(network, None, source, ("t1",), TransferOptions(minimum=0.7)).usage < 0.72


def test_other_widths_are_told_apart(pretrained: WeightSource) -> None:
    with pytest.raises(WeightsError, match=r"bias \(8 in the file, 4 here\)"):
        transfer(UNET3D(1, widths=(4, 8), depths=(1, 1)), None, pretrained, ("t1",))


def test_values_that_are_not_finite_are_left_out_and_named(pretrained: WeightSource) -> None:
    pretrained.encoder["stages.1.entry.bias"][3] = float("nan")
    network = backbone(1)
    before = state(network)
    report = transfer(network, None, pretrained, ("t1",))
    assert statuses(report)["backbone.stages.1.entry.bias"] == "not finite"
    assert "stages.1.entry.bias (not finite)" in str(report)
    assert torch.equal(before["stages.1.entry.bias"], network.state_dict()["stages.1.entry.bias"])


def test_a_missing_fact_names_the_file(pretrained: WeightSource) -> None:
    pretrained.encoder[STEM] = pretrained.encoder[STEM].expand(-1, 3, -1, -1, -1)
    with pytest.raises(WeightsError, match=r"last\.ckpt: it does not say which modalities"):
        transfer(backbone(4), None, pretrained, FOUR, TransferOptions(stem="per_modality"))


def test_the_published_fine_tuning_network_is_filled_but_for_its_answers(
    checkpoints: dict[str, Path],
) -> None:
    network = UniFormer(4, widths=(16, 32, 80, 128), head_width=16)
    answering = UniUnet(network, 3)
    report = transfer(network, answering, open_source(checkpoints["uniunet"]), FOUR)
    found = statuses(report)
    answers = {name for name in found if ".out." in name or ".auxiliary." in name}
    others = {name: status for name, status in found.items() if name not in answers}
    assert {found[name] for name in answers} == {"other outputs"}  # the file does not tell which
    assert set(others.values()) == {"loaded", "adapted, channel order unknown"}
    assert report.coverage == 1.0
    text = str(report)
    assert f"    adapted, channel order unknown: {network.stems[0]}" in text.splitlines()
    assert "were taken to be t1, t1ce, t2, flair, in this order" in text
    assert "the file does not say what its answers are" in text


def test_the_report_counts_and_lists_every_tensor(pretrained: WeightSource) -> None:
    network = backbone(4)
    answering = head(network)
    report = transfer(network, answering, pretrained, FOUR)
    total, own = len(network.state_dict()), len(answering.state_dict())
    names = len(answering.pretrained_names())
    lines = str(report).splitlines()
    assert lines[1] == f"  backbone: {total} of {total} tensors loaded (100.0%)"
    assert lines[2] == (
        f"    adapted (inflate_mean): {STEM} (8x1x3x3x3 in the file, 8x4x3x3x3 here)"
    )
    assert lines[3] == f"  head: {names} of {own} tensors loaded"
    rows = [line.split("\t") for line in report.to_table().splitlines()]
    assert len(rows) == 1 + total + own + len(report.unused)
    assert ["backbone", STEM, "8x4x3x3x3", "adapted", f"encoder.{STEM}", "8x1x3x3x3"] in rows
    assert ["-", "-", "-", "not used", "decoder.out.weight", "-"] in rows


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (lambda c: UniFormer(c, widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), head_width=4), 32),
        (
            lambda c: UNETR(
                c,
                image_size=(32, 32, 32),
                hidden_width=8,
                num_layers=4,
                num_heads=2,
                mlp_width=8,
                fine_width=2,
            ),
            32,
        ),
        (lambda c: SwinUNETR(c, width=4, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)), 32),
    ],
    ids=["uniformer", "unetr", "swin_unetr"],
)
def test_each_network_answers_equal_channels_as_its_pretrained_self(
    network: Callable[[int], Backbone], size: int
) -> None:
    torch.manual_seed(0)
    one, three = network(1).eval(), network(3).eval()
    source = WeightSource(Path("x"), "pretrained", "made up", state(one))
    report = transfer(three, None, source, ("t1", "t2", "flair"))
    assert report.coverage == 1.0
    assert [fate.name for fate in report.fates if fate.status == "adapted"] == list(one.stems)
    image = torch.rand(1, 1, size, size, size)
    with torch.no_grad():
        before, after = one(image), three(image.expand(-1, 3, -1, -1, -1))
    for expected, found in zip(before, after, strict=True):
        assert torch.allclose(expected, found, atol=1e-4)
