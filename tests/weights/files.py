"""Small files of every kind that holds weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.heads.residual_unet import ResidualUnet
from tests.training import small_task

BACKBONE = {
    "class_path": "brainmvp_lightning.backbones.registry.unet3d",
    "init_args": {"widths": [8, 16], "depths": [1, 1]},
}
CONFIGURATION = {
    "backbone": BACKBONE,
    "method": {"init_args": {"templates": {"modalities": ["t1", "t2"], "rescale": "clamp"}}},
}


def backbone(in_channels: int) -> UNET3D:
    return UNET3D(in_channels, widths=(8, 16), depths=(1, 1))


def head(network: Backbone, num_outputs: int = 3) -> ResidualUnet:
    return ResidualUnet(network, num_outputs)


def write_pretraining(path: Path, **facts: Any) -> dict[str, Tensor]:
    """Write a checkpoint of a pre-training as Lightning does, and return the state of the task."""
    state = {name: value.clone() for name, value in small_task().state_dict().items()}
    state["method.templates.values"] = torch.linspace(-1, 2, 8 * 24**3).view(8, 24, 24, 24)
    content = {"epoch": 3, "state_dict": state, "hyper_parameters": CONFIGURATION, **facts}
    torch.save(content, path)
    return state


def spec(
    modalities: tuple[str, ...], outputs: tuple[str, ...] = ("background", "oedema", "core")
) -> dict[str, Any]:
    description = {"modalities": list(modalities), "label_names": list(outputs)}
    return {
        "format": 1,
        "task": "segmentation",
        "backbone": BACKBONE,
        "head": {"class_path": "residual_unet", "init_args": {}},
        "description": description,
        "templates": None,
    }


def network(modalities: tuple[str, ...], seed: int = 1) -> nn.ModuleDict:
    """A fine-tuned network: backbone and segmentation head."""
    torch.manual_seed(seed)
    reader = backbone(len(modalities))
    return nn.ModuleDict({"backbone": reader, "head": head(reader)})


def write_fine_tuned(path: Path, modalities: tuple[str, ...], *, ema: bool = False) -> nn.Module:
    """Write a checkpoint of a fine-tuning as Lightning does, and return the network to be read."""
    chosen, other = network(modalities, 1), network(modalities, 2)
    state = prefixed("model.", (other if ema else chosen).state_dict())
    if ema:
        state |= prefixed("ema.module.", chosen.state_dict()) | {"ema.n_averaged": torch.tensor(7)}
    content = {"epoch": 3, "state_dict": state, "ema": ema, "model_spec": spec(modalities)}
    torch.save(content, path)
    return chosen


def write_folder(folder: Path, modalities: tuple[str, ...]) -> nn.Module:
    """Write an exported network, and return it."""
    folder.mkdir()
    exported = network(modalities)
    (folder / "config.json").write_text(json.dumps(spec(modalities)))
    save_file(dict(exported.state_dict()), folder / "model.safetensors")
    return exported


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same names and, to the last bit, the same values."""
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
