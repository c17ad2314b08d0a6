"""Models come back from checkpoints and folders, and damaged files say so."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from brainmvp_lightning.inference.loading import load_model
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.weights.errors import WeightsError
from tests.inference.tiny_networks import make_model, save_checkpoint


def scaled(factor: float) -> FineTunedModel:
    model = make_model()
    with torch.no_grad():
        model.backbone.scale.fill_(factor)  # type: ignore[operator, union-attr]
    return model


def scale_of(model: FineTunedModel) -> float:
    return model.state_dict()["backbone.scale"].item()


def test_a_checkpoint_gives_its_model_in_eval_mode(tmp_path: Path) -> None:
    model = load_model(save_checkpoint(scaled(3.0), tmp_path / "a.ckpt"))
    assert scale_of(model) == 3.0
    assert not model.training
    assert model.description == make_model().description


@pytest.mark.parametrize(("has_average", "expected"), [(True, 5.0), (False, 3.0)])
def test_averaged_weights_count_where_a_checkpoint_has_them(
    has_average: bool, expected: float, tmp_path: Path
) -> None:
    state = {f"model.{k}": v for k, v in scaled(3.0).state_dict().items()}
    state |= {f"ema.module.{k}": v for k, v in scaled(5.0).state_dict().items()}
    state["ema.n_averaged"] = torch.tensor(7)
    content = {"model_spec": make_model().spec(), "state_dict": state, "ema": has_average}
    torch.save(content, tmp_path / "a.ckpt")
    assert scale_of(load_model(tmp_path / "a.ckpt")) == expected


def test_a_folder_gives_its_model(tmp_path: Path) -> None:
    model = scaled(2.0)
    (tmp_path / "config.json").write_text(json.dumps(model.spec()))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert scale_of(load_model(tmp_path)) == 2.0


def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"lacks model\.safetensors"):
        load_model(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="format None"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is damaged"):
        load_model(tmp_path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = save_checkpoint(scaled(3.0), tmp_path / "a.ckpt")
    content = bytearray(path.read_bytes())
    place = content.index(b"\x00\x00@@")  # 3.0 as float32, little endian
    content[place + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no model", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.ckpt is damaged or no PyTorch checkpoint"):
        load_model(tmp_path / "a.ckpt")


def test_objects_in_a_checkpoint_are_refused(tmp_path: Path) -> None:
    torch.save({"model_spec": {}, "state_dict": {}, "extra": Path}, tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match="only running code would restore"):
        load_model(tmp_path / "a.ckpt")


def test_a_checkpoint_of_pre_training_is_no_model(tmp_path: Path) -> None:
    torch.save({"state_dict": {"backbone.a": torch.ones(1)}}, tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match="holds no fine-tuned model"):
        load_model(tmp_path / "a.ckpt")


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = {f"model.{name}": tensor for name, tensor in make_model().state_dict().items()}
    state["model.head.levels"] = torch.zeros(5)
    del state["model.backbone.scale"]
    torch.save({"model_spec": make_model().spec(), "state_dict": state}, tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match=r"backbone\.scale is missing; head\.levels has shape"):
        load_model(tmp_path / "a.ckpt")


def test_a_path_to_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no model .*best\.ckpt"):
        load_model(tmp_path / "best.ckpt")
