import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from brainmvp_lightning.inference.export import save_encoder, save_model
from brainmvp_lightning.inference.hub import from_pretrained, local_copy, push_to_hub
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.sources import open_source
from tests.inference.fine_tuned import fine_tuned, images


def test_a_folder_is_read_without_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fine_tuned()
    save_model(model, tmp_path / "model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    back = from_pretrained(tmp_path / "model")
    assert not back.training
    with torch.no_grad():
        assert torch.equal(back(images()).logits[0], model(images()).logits[0])


def test_a_folder_is_preferred_to_a_repository_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(fine_tuned(), tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert from_pretrained("owner/name").task == "segmentation"


def test_a_missing_package_ends_in_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "brainmvp-lightning\[hub\]"'):
        from_pretrained("nobody/nothing")


def test_a_failed_download_is_one_sentence_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        from_pretrained("nobody/nothing")
    message = str(caught.value)
    assert "there is no such folder, and the model could not be downloaded" in message
    assert "nobody/nothing" in message
    assert "\n" not in message


def test_an_encoder_is_found_on_disk_and_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    save_encoder({"encoder.a": torch.ones(2)}, {"steps": 3}, tmp_path / "encoder")
    assert open_source(local_copy(tmp_path / "encoder")).manifest["steps"] == 3


def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no model"):
        from_pretrained(tmp_path / "none" / "best.ckpt")


@pytest.mark.parametrize(
    "name",
    [
        *("pretrain/encoder.safetensors", "run/best.ckpt", "run/a.pt", "run/B.PTH"),
        *("./model", "../model", "/models", "~/model", ".cache/model"),
    ],
)
def test_names_of_files_are_not_looked_for_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert local_copy(name) == Path(name)
    with pytest.raises(FileNotFoundError, match=r"encoder|best|a\.pt|B\.PTH|model"):
        open_source(local_copy(name))


def test_only_exported_folders_are_uploaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"lacks model\.safetensors, README\.md; export"):
        push_to_hub(tmp_path, "nobody/nothing")


def test_an_upload_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(fine_tuned(), tmp_path / "model")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="could not be uploaded to nobody/nothing"):
        push_to_hub(tmp_path / "model", "nobody/nothing")
