import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.reading import read_tensors

TENSORS = {"a.weight": torch.arange(600.0), "b": torch.ones(2, 3)}


class Trap:
    """Leaves a file behind when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"state_dict": TENSORS, "epoch": 3},
        {"state_dict": {f"module.{name}": value for name, value in TENSORS.items()}},
        {"model": TENSORS},
    ],
)
@pytest.mark.parametrize("is_new", [True, False])
def test_checkpoints_of_all_shapes_are_read(
    content: dict[str, object], is_new: bool, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=is_new)
    tensors = read_tensors(tmp_path / "x.pt")
    assert tensors.keys() == TENSORS.keys()
    assert torch.equal(tensors["a.weight"], TENSORS["a.weight"])


def test_foreign_safetensors_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors")
    assert read_tensors(tmp_path / "x.safetensors").keys() == TENSORS.keys()


@pytest.mark.parametrize("is_new", [True, False])
def test_code_in_a_checkpoint_is_refused_and_never_run(is_new: bool, tmp_path: Path) -> None:
    content = {"state_dict": TENSORS, "trap": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=is_new)
    with pytest.raises(WeightsError, match="is refused: it holds Python objects"):
        read_tensors(tmp_path / "x.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_plain_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(WeightsError):
        read_tensors(tmp_path / "x.ckpt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "flipped"])
def test_a_damaged_checkpoint_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"state_dict": TENSORS}, path)
    content = bytearray(path.read_bytes())
    place = content.index(TENSORS["a.weight"].numpy().tobytes()[400:440])
    content[place] ^= 4  # a bit of a weight, which torch.load itself does not notice
    damaged = {
        "empty": b"",
        "text": b"<html>404</html>",
        "truncated": bytes(content[: len(content) // 2]),
        "flipped": bytes(content),
    }
    path.write_bytes(damaged[kind])
    with pytest.raises(WeightsError, match="is damaged or no PyTorch checkpoint"):
        read_tensors(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"state_dict": {}}])
def test_a_file_without_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="holds no named tensors"):
        read_tensors(tmp_path / "x.pt")


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"not much")
    with pytest.raises(WeightsError, match="is damaged or no safetensors file"):
        read_tensors(tmp_path / "x.safetensors")


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "x.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match=str(path)):
            read_tensors(path)
