import json
from pathlib import Path

import pytest
import torch

from brainmvp_lightning.inference.export import new_folder, save_model
from brainmvp_lightning.inference.loading import load_model
from brainmvp_lightning.inference.model import ModelTask
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.sources import open_source
from tests.inference.fine_tuned import fine_tuned, images

TASKS: tuple[ModelTask, ...] = ("segmentation", "classification")


@pytest.mark.parametrize("task", TASKS)
def test_what_comes_back_is_the_same_to_the_last_bit(task: ModelTask, tmp_path: Path) -> None:
    model = fine_tuned(task, templates=True)
    save_model(model, tmp_path / "new" / "model")
    back = load_model(tmp_path / "new" / "model")
    assert back.spec() == model.spec()
    state = model.state_dict()
    assert back.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())
    with torch.no_grad():
        assert torch.equal(back(images()).logits[0], model(images()).logits[0])


def test_the_folder_holds_three_files_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_model(fine_tuned(), tmp_path / "model", {"licence_note": "ask"})
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["metadata"] == {"licence_note": "ask"}


def test_an_exported_model_can_be_started_from(tmp_path: Path) -> None:
    model = fine_tuned(templates=True)
    save_model(model, tmp_path / "model")
    source = open_source(tmp_path / "model")
    assert source.encoder.keys() == model.backbone.state_dict().keys()
    assert source.head.keys() == model.head.state_dict().keys()
    assert source.modalities == ("t1", "flair")
    assert source.templates is not None
    assert source.manifest["templates"]["reference_voxel"] == [4, 4, 4]
    assert not source.rest


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty; choose a new folder"):
        save_model(fine_tuned(), tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "note.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    for folder in (tmp_path / "new", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        with pytest.raises(WeightsError, match="no plain JSON"):
            save_model(fine_tuned(), folder, {"metrics": {"dice": float("nan")}})
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]
    assert not list((tmp_path / "empty").iterdir())


def test_an_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    def write_half() -> None:
        with new_folder(tmp_path / "model") as part:
            (part / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_not_exported(tmp_path: Path) -> None:
    model = fine_tuned()
    with torch.no_grad():
        model.get_parameter("head.out.bias")[0] = float("nan")
    with pytest.raises(WeightsError, match=r"1 tensors of the model, such as head\.out\.bias"):
        save_model(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_flipped_bit_of_an_export_is_noticed(tmp_path: Path) -> None:
    save_model(fine_tuned(), tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="its digest differs"):
        load_model(tmp_path / "model")
