"""What names and shapes do not show: options, answers, positions."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from brainmvp_lightning.backbones.unetr import UNETR
from brainmvp_lightning.backbones.uniformer import UniFormer, UniFormerSmall
from brainmvp_lightning.heads.residual_unet import ResidualUnet
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.sources import WeightSource, open_source
from brainmvp_lightning.weights.transfer import transfer
from tests.weights.files import backbone, head, same, spec, write_fine_tuned
from tests.weights.test_transfer import FOUR, state, statuses


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        (spec(FOUR, ("background", "core", "oedema")), "the answers in the file are background, o"),
        ({}, "the new network does not say what its answers are"),
    ],
)
def test_layers_of_other_answers_start_afresh(
    asked: dict[str, Any], note: str, tmp_path: Path
) -> None:
    write_fine_tuned(tmp_path / "best.ckpt", FOUR)
    reader = backbone(4)
    answering = head(reader)
    before = state(answering)["out.weight"]
    report = transfer(reader, answering, open_source(tmp_path / "best.ckpt"), FOUR, spec=asked)
    left = {name for name, status in statuses(report).items() if status == "other outputs"}
    assert left == {name for name in statuses(report) if ".out." in name or ".auxiliary." in name}
    assert torch.equal(answering.state_dict()["out.weight"], before)
    assert f"  note: head: {note}" in str(report)


def test_a_head_of_another_kind_is_left_though_shapes_agree(tmp_path: Path) -> None:
    network = backbone(2)
    old = ResidualUnet(network, 3).state_dict()
    manifest = {**spec(("t1", "t2")), "head": {"class_path": "uniunet"}}
    source = WeightSource(
        Path("x"), "fine_tuned", "made up", state(network), head=dict(old), manifest=manifest
    )
    answering = head(network)
    before = state(answering)
    report = transfer(network, answering, source, ("t1", "t2"), spec=spec(("t1", "t2")))
    assert same(before, answering.state_dict())
    assert {fate.status for fate in report.of("head")} == {"other head"}
    assert "the file has uniunet, here it is ResidualUnet: nothing is taken of it" in str(report)


def unetr(side: int, **options: Any) -> tuple[UNETR, dict[str, Any]]:
    chosen: dict[str, Any] = {"num_layers": 4, "num_heads": 2, "mlp_width": 8, "fine_width": 2}
    chosen |= {"image_size": [side] * 3, "hidden_width": 8, **options}
    return UNETR(1, **chosen), {"class_path": "unetr", "init_args": chosen}


def test_positions_for_another_size_of_image_are_interpolated() -> None:
    torch.manual_seed(0)
    old, told = unetr(48)
    new, asked = unetr(32)
    nn.init.normal_(old.vit.patch_embedding.position_embeddings)
    manifest = {"backbone": told}
    source = WeightSource(Path("x"), "encoder", "made up", state(old), manifest=manifest)
    report = transfer(new, None, source, ("t1",), spec={"backbone": asked})
    assert report.coverage == 1.0
    (adapted,) = [fate for fate in report.fates if fate.status != "loaded"]
    assert str(adapted) == (
        "vit.patch_embedding.position_embeddings (1x27x8 in the file, 1x8x8 here)"
    )
    assert f"    adapted, positions interpolated: {adapted}" in str(report).splitlines()
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():  # the old network interpolates its positions for each image
        for first, second in zip(old.eval()(image), new.eval()(image), strict=True):
            assert torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_heads": 4}, "trained with num_heads 2, but the backbone has num_heads 4"),
        ({"feature_layers": "paper"}, "feature_layers published, but the backbone has"),
    ],
)
def test_options_that_no_shape_shows_are_compared(changes: dict[str, Any], expected: str) -> None:
    old, told = unetr(32)
    new, asked = unetr(32, **changes)
    before = state(new)
    source = WeightSource(Path("x"), "encoder", "made up", state(old), manifest={"backbone": told})
    with pytest.raises(WeightsError, match=expected):
        transfer(new, None, source, ("t1",), spec={"backbone": asked})
    assert same(before, new.state_dict())


def test_options_that_change_no_answer_may_differ() -> None:
    told = {"class_path": "a.b.UniFormerSmall", "init_args": {"drop_path": 0.2, "head_width": 4}}
    options: dict[str, Any] = {"widths": (4, 4, 8, 8), "depths": (1, 1, 1, 1), "head_width": 4}
    network = UniFormerSmall(1, **options, channels_last=False)
    asked = {"class_path": "uniformer_small", "init_args": {**options, "channels_last": False}}
    source = WeightSource(
        Path("x"), "encoder", "made up", state(network), manifest={"backbone": told}
    )
    assert transfer(network, None, source, ("t1",), spec={"backbone": asked}).coverage == 1.0
    told["init_args"] = {"head_width": 2}
    with pytest.raises(WeightsError, match="head_width 2, but the backbone has head_width 4"):
        transfer(network, None, source, ("t1",), spec={"backbone": asked})


def test_the_width_of_the_published_attention_heads_is_known(checkpoints: dict[str, Path]) -> None:
    options: dict[str, Any] = {"widths": (16, 32, 80, 128), "head_width": 8}
    network = UniFormer(4, **options)
    asked = {"class_path": "uniformer_small", "init_args": options}
    with pytest.raises(WeightsError, match="head_width 16, but the backbone has head_width 8"):
        transfer(network, None, open_source(checkpoints["uniunet"]), FOUR, spec={"backbone": asked})
