"""Fine-tuned models from files, without ever running code that a file carries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.reading import read_content, read_safetensors
from brainmvp_lightning.weights.sources import CONFIG_FILE, network_prefix, read_spec

WEIGHTS_FILE = "model.safetensors"


def load_model(path: str | Path) -> FineTunedModel:
    """Read a fine-tuned model, on the CPU and in eval mode.

    Args:
        path: Checkpoint of a fine-tuning run (averaged weights count, if it has them), or a folder
            with ``config.json`` and ``model.safetensors``.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        WeightsError: If it is damaged, no fine-tuned model, or of another version.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(
            f"there is no model {source}; give a checkpoint such as checkpoints/best.ckpt, or a "
            f"folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
        )
    spec, tensors = _read_folder(source) if source.is_dir() else _read_checkpoint(source)
    try:
        model = FineTunedModel.from_spec(spec)
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{source}: {error}") from error
    _fill(model, tensors, source)
    return model.eval()


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{folder} is no exported model: it lacks {' and '.join(missing)}; give the folder "
            "that 'brainmvp weights export' wrote, or a checkpoint"
        )
    return read_spec(folder), read_safetensors(folder / WEIGHTS_FILE)[0]


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    content = read_content(path)
    spec = content.facts.get("model_spec")
    if not isinstance(spec, Mapping):
        raise WeightsError(
            f"{path} holds no fine-tuned model (no 'model_spec'); give a checkpoint of a "
            "fine-tuning run, such as checkpoints/best.ckpt"
        )
    prefix = network_prefix(content.facts)
    tensors = {
        name.removeprefix(prefix): tensor
        for name, tensor in content.tensors.items()
        if name.startswith(prefix)
    }
    return dict(spec), tensors


def _fill(model: FineTunedModel, tensors: Mapping[str, Tensor], source: Path) -> None:
    expected = model.state_dict()
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    faults += [f"{name} is unknown" for name in tensors if name not in expected]
    faults += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if faults:
        raise WeightsError(
            f"{source} does not fit the network it describes: {'; '.join(faults[:3])} "
            f"({len(faults)} tensors in all); export it again with this version"
        )
    model.load_state_dict(dict(tensors))
