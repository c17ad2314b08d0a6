import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.export import METADATA_KEY, read_weights, write_weights

MANIFEST = {"modalities": ["t1", "t2"], "licence_note": "none"}


def test_round_trip_of_any_layout_and_type(tmp_path: Path) -> None:
    shared = torch.randn(4, 2, 3, 3, 3)
    tensors = {
        "encoder.plain": shared,
        "encoder.shared": shared,
        "encoder.turned": shared.permute(0, 1, 3, 4, 2),
        "decoder.half": torch.randn(3, requires_grad=True).bfloat16(),
        "encoder.count": torch.tensor(7),
        "templates": shared.contiguous(memory_format=torch.channels_last_3d),
    }
    path = tmp_path / "new" / "encoder.safetensors"
    write_weights(path, tensors, MANIFEST)
    read, manifest = read_weights(path)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], value) for name, value in tensors.items())
    assert manifest["schema"] == 1
    assert manifest["modalities"] == ["t1", "t2"]
    assert set(manifest["versions"]) == {"brainmvp_lightning", "torch"}
    assert list(path.parent.iterdir()) == [path]


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_weights(path, {"encoder.a": torch.ones(100)}, MANIFEST)
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged: its digest differs"):
        read_weights(path)


@pytest.mark.parametrize("name", ["backbone.a", "encoder", "encoder.", "templates.a"])
def test_foreign_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"encoder\.\*, decoder\.\* or templates"):
        write_weights(tmp_path / "x.safetensors", {name: torch.ones(1)}, MANIFEST)


@pytest.mark.parametrize("value", [float("nan"), Path("x")])
def test_a_manifest_that_is_no_json_leaves_the_old_file(value: object, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_weights(path, {"encoder.a": torch.ones(1)}, MANIFEST)
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="not plain JSON"):
        write_weights(path, {"encoder.a": torch.zeros(1)}, {"value": value})
    assert path.read_bytes() == before


def test_files_without_a_manifest_are_referred_to_import(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="brainmvp weights import"):
        read_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"schema": 2}), "update brainmvp-lightning"),
        ("{", "manifest is damaged"),
        ("[]", "manifest is damaged"),
    ],
)
def test_unreadable_manifests_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"encoder.a": torch.ones(1)}, path, metadata={METADATA_KEY: text})
    with pytest.raises(WeightsError, match=message):
        read_weights(path)
