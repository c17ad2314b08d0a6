import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.export import write_weights
from brainmvp_lightning.weights.sources import WeightSource, open_source
from tests.weights.files import (
    BACKBONE,
    prefixed,
    same,
    write_fine_tuned,
    write_folder,
    write_pretraining,
)
from tests.weights.test_reading import Trap

PAIR = ("t1", "flair")


def parts(source: WeightSource) -> tuple[int, int, int]:
    return len(source.encoder), len(source.decoder), len(source.head)


def test_an_encoder_file_has_all_that_was_pretrained(tmp_path: Path) -> None:
    tensors = {"encoder.a": torch.ones(2), "decoder.up.0.weight": torch.zeros(3)}
    manifest = {"backbone": {"class": "x.UNET3D", "feature_channels": [8, 16]}}
    path = tmp_path / "encoder.safetensors"
    write_weights(path, {**tensors, "templates": torch.ones(1, 2, 2, 2)}, manifest)
    source = open_source(path)
    assert parts(source) == (1, 1, 0)
    assert torch.equal(source.encoder["a"], torch.ones(2))
    assert source.templates is not None
    assert source.modalities is None  # one channel, of any modality
    assert source.network == "UNET3D (widths [8, 16])"


def test_the_folder_of_a_run_is_read_by_its_encoder_file(tmp_path: Path) -> None:
    write_weights(tmp_path / "encoder.safetensors", {"encoder.a": torch.ones(2)}, {})
    assert open_source(tmp_path).path == tmp_path / "encoder.safetensors"


def test_a_file_without_encoder_is_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "x.safetensors", {"decoder.a": torch.ones(2)}, {})
    with pytest.raises(WeightsError, match=r"\(encoder file\) holds no encoder"):
        open_source(tmp_path / "x.safetensors")


def test_the_channels_of_an_encoder_file_are_known_if_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    write_weights(path, {"encoder.a": torch.ones(2)}, {"channels": list(PAIR)})
    assert open_source(path).modalities == PAIR


def test_a_checkpoint_of_a_pretraining_has_encoder_decoder_and_templates(tmp_path: Path) -> None:
    state = write_pretraining(tmp_path / "last.ckpt")
    source = open_source(tmp_path / "last.ckpt")
    assert same(source.encoder, strip(state, "backbone."))
    assert same(source.decoder, strip(state, "method.cross_modal.decoder."))
    assert source.templates is not None
    assert torch.equal(source.templates, state["method.templates.values"])
    assert source.manifest["templates"]["rescale"] == "clamp"
    assert source.manifest["backbone"] == BACKBONE
    assert source.manifest["templates"]["modalities"] == ["t1", "t2"]
    assert source.manifest["templates"]["affine"][0] == [1.0, 0.0, 0.0, -12.0]
    assert all(name.startswith("method.") for name in source.rest)


def test_the_decoder_of_the_distillation_is_taken_where_there_is_no_other(tmp_path: Path) -> None:
    state = write_pretraining(tmp_path / "last.ckpt")
    kept = {name: value for name, value in state.items() if "cross_modal" not in name}
    torch.save({"state_dict": kept}, tmp_path / "last.ckpt")
    source = open_source(tmp_path / "last.ckpt")
    assert same(source.decoder, strip(state, "method.distillation.decoder."))


@pytest.mark.parametrize("ema", [False, True])
def test_a_checkpoint_of_a_fine_tuning_has_encoder_head_and_modalities(
    ema: bool, tmp_path: Path
) -> None:
    network = write_fine_tuned(tmp_path / "best.ckpt", PAIR, ema=ema)
    source = open_source(tmp_path / "best.ckpt")
    assert same(source.encoder, strip(network.state_dict(), "backbone."))
    assert same(source.head, strip(network.state_dict(), "head."))
    assert source.modalities == PAIR
    assert source.network == "unet3d (widths [8, 16], depths [1, 1])"
    assert not source.rest


@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_an_exported_network_is_read_by_its_folder_or_its_file(file: str, tmp_path: Path) -> None:
    network = write_folder(tmp_path / "model", PAIR)
    source = open_source(tmp_path / "model" / file)
    assert same(source.encoder, strip(network.state_dict(), "backbone."))
    assert same(source.head, strip(network.state_dict(), "head."))
    assert source.modalities == PAIR


@pytest.mark.parametrize(
    ("kind", "network", "has_head"),
    [
        ("uniformer", "uniformer (widths [16, 32, 80, 128])", False),
        ("unet3d", "unet3d (widths [8, 16, 32, 64])", False),
        ("uniunet", "uniformer (widths [16, 32, 80, 128])", True),
    ],
)
def test_published_checkpoints_are_translated(
    kind: str, network: str, has_head: bool, checkpoints: dict[str, Path]
) -> None:
    source = open_source(checkpoints[kind])
    assert source.network == network
    assert "stages.0.blocks.0." in " ".join(source.encoder)
    assert bool(source.head) == has_head
    assert bool(source.decoder) != has_head
    assert (source.templates is None) == has_head


def test_foreign_weights_end_in_one_sentence_with_what_is_accepted(tmp_path: Path) -> None:
    torch.save({"state_dict": {"layer1.weight": torch.ones(1)}}, tmp_path / "resnet.pth")
    save_file({"layer1.weight": torch.ones(1)}, tmp_path / "resnet.safetensors")
    for name in ("resnet.pth", "resnet.safetensors"):
        with pytest.raises(WeightsError, match=r"holds 1 tensors such as layer1\.weight") as caught:
            open_source(tmp_path / name)
        assert "encoder file" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_folders_of_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"without config\.json and model\.safetensors"):
        open_source(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Bert"]}))
    save_file({"bert.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"such as bert\.weight, not those of a network"):
        open_source(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is damaged"):
        open_source(tmp_path)


def test_facts_of_another_form_are_passed_over(tmp_path: Path) -> None:
    facts = {"backbone": [1], "channels": 3, "templates": "none", "description": "x"}
    write_weights(tmp_path / "x.safetensors", {"encoder.a": torch.ones(2)}, facts)
    state = {"backbone.a": torch.ones(2), "method.templates.values": torch.ones(1, 2, 2, 2)}
    torch.save({"state_dict": state, "hyper_parameters": {"method": 3}}, tmp_path / "a.ckpt")
    torch.save({"state_dict": prefixed("model.", state), "model_spec": 3}, tmp_path / "b.ckpt")
    for name in ("x.safetensors", "a.ckpt", "b.ckpt"):
        source = open_source(tmp_path / name)
        assert source.network == "a network of 1 tensors (a of shape 2, ...)"
        assert source.modalities is None


def test_a_checkpoint_with_code_is_refused_and_the_code_never_run(tmp_path: Path) -> None:
    state = {"model.backbone.a": torch.ones(1)}
    trap = Trap(tmp_path / "sprung")
    torch.save({"state_dict": state, "model_spec": trap}, tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match="is refused: it holds Python objects"):
        open_source(tmp_path / "x.ckpt")
    assert not (tmp_path / "sprung").exists()


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    write_fine_tuned(tmp_path / "best.ckpt", PAIR)
    content = (tmp_path / "best.ckpt").read_bytes()
    (tmp_path / "best.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"best\.ckpt is damaged"):
        open_source(tmp_path / "best.ckpt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt: no such file of weights"):
        open_source(tmp_path / "none.ckpt")


def strip(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
