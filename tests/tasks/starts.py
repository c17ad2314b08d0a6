"""One small file of each kind that a fine-tuning can start from, and what must come out of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.inference.export import save_model
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates
from brainmvp_lightning.methods.templates import PUBLISHED_MODALITIES
from tests.golden.stand_ins import checkpoint, write_checkpoint
from tests.tasks.fine_tuning import write_encoder
from tests.training import small_task
from tests.weights.files import BACKBONE

DATA = LabelledDescription(
    modalities=("t2", "t1", "flair"),
    spacing_mm=(1.0, 1.0, 1.0),
    centre_mm=(0.0, 0.0, 0.0),
    crop_size=(32, 16, 16),
    num_outputs=3,
    region_names=("whole", "core"),
    label_names=("background", "oedema", "core"),
    label_regions=((), ("whole",), ("whole", "core")),
)
SMALL = partial(BACKBONES.get("unet3d"), widths=(8, 16), depths=(1, 1))
STEM = "stages.0.entry.weight"
OWN = ("flair", "t1", "t2")
"""Modalities of the fine-tuned networks, in an order that is not that of the data."""


@dataclass(frozen=True)
class Written:
    """A file of weights, the backbone that takes it, and what the network must hold then."""

    path: Path
    encoder: dict[str, Tensor]
    """By name in the backbone, its stem for the modalities of `DATA`."""
    templates: Tensor
    """Those of the modalities of `DATA`, in their order, ``3 x y z``."""
    reference_voxel: tuple[int, int, int]
    backbone: Callable[..., Any] = SMALL


def encoder_file(folder: Path) -> Written:
    """Templates are boxes: 0.1 for t1, 0.2 for t2, 0.3 for flair."""
    path = write_encoder(folder / "encoder.safetensors", ("t1", "t2", "flair", "pd"))
    torch.manual_seed(11)  # as `write_encoder` does
    encoder = SMALL(1).state_dict()
    templates = torch.zeros(3, 32, 32, 32)
    templates[:, 4:28, 4:28, 4:28] = torch.tensor([0.2, 0.1, 0.3]).view(3, 1, 1, 1)
    return Written(path, inflated(encoder, STEM), templates, (16, 16, 16))


def pretraining_checkpoint(folder: Path) -> Written:
    """Raw templates that leave [0, 1]."""
    path = folder / "last.ckpt"
    state = dict(small_task().state_dict())
    state["method.templates.values"] = torch.rand(8, 24, 24, 24) * 2 - 0.5
    torch.save({"state_dict": state, "hyper_parameters": configuration()}, path)
    encoder = {
        n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")
    }
    images = of_data(state["method.templates.values"]).clamp(0, 1)
    return Written(path, inflated(encoder, STEM), images, (12, 12, 12))


def fine_tuned_checkpoint(folder: Path) -> Written:
    """Modalities in another order, and templates whose centre is not that of their grid."""
    model, path = fine_tuned(), folder / "best.ckpt"
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "ema": False, "model_spec": model.spec()}, path)
    return written(model, path)


def exported_folder(folder: Path) -> Written:
    """The same network as a model hub keeps it."""
    model = fine_tuned()
    save_model(model, folder / "model")
    return written(model, folder / "model")


def published_checkpoint(folder: Path) -> Written:
    """The released UniFormer, a quarter as wide; kernels are stored ``z x y``."""
    tensors = checkpoint("uniformer", 4)
    path = write_checkpoint(folder / "published.pt", tensors)
    names = {
        "patch_embed1.proj.weight": "stages.0.entry.conv.weight",
        "patch_embed2.norm.bias": "stages.1.entry.norm.bias",
        "blocks2.3.attn.weight": "stages.1.blocks.3.mixing.depthwise.weight",
        "blocks4.2.attn.qkv.weight": "stages.3.blocks.2.attention.qkv.weight",
        "norm.weight": "norm.weight",
    }
    found = {own: tensors[f"encoder.uniformer.{name}"] for name, own in names.items()}
    encoder = {n: t.permute(0, 1, 3, 4, 2) if t.ndim == 5 else t for n, t in found.items()}
    raw = of_data(tensors["rep_template"])
    low, high = (limit.view(3, 1, 1, 1) for limit in (raw.amin((1, 2, 3)), raw.amax((1, 2, 3))))
    return Written(
        path,
        inflated(encoder, "stages.0.entry.conv.weight"),
        (raw - low) / (high - low),
        (30, 30, 19),
        partial(BACKBONES.get("uniformer_small"), widths=(16, 32, 80, 128), head_width=16),
    )


KINDS: dict[str, Callable[[Path], Written]] = {
    maker.__name__: maker
    for maker in (
        encoder_file,
        pretraining_checkpoint,
        fine_tuned_checkpoint,
        exported_folder,
        published_checkpoint,
    )
}


def configuration() -> dict[str, Any]:
    """What a pre-training of all published modalities says of itself."""
    templates = {"modalities": list(PUBLISHED_MODALITIES), "rescale": "raw"}
    return {"backbone": BACKBONE, "method": {"init_args": {"templates": templates}}}


def fine_tuned() -> FineTunedModel:
    """A network of the modalities `OWN`."""
    torch.manual_seed(2)
    made = FrozenTemplates(OWN, torch.rand(3, 24, 20, 18), (1.0,) * 3, (0.0,) * 3, (3, 5, 2))
    description = LabelledDescription(**{**vars(DATA), "modalities": OWN})
    head = {"class_path": "residual_unet", "init_args": {}}
    return FineTunedModel(BACKBONE, head, description, "segmentation", made)


def written(model: FineTunedModel, path: Path) -> Written:
    """What is expected of the network above: each channel keeps the kernel of its modality."""
    assert model.templates is not None
    encoder = dict(model.backbone.state_dict())
    order = [OWN.index(name) for name in DATA.modalities]
    encoder[STEM] = encoder[STEM][:, order]
    return Written(path, encoder, model.templates.volumes[order], (3, 5, 2))


def inflated(encoder: dict[str, Tensor], stem: str) -> dict[str, Tensor]:
    """The stem of one channel as that of three: each has a third of it."""
    kernel = encoder[stem]
    return {**encoder, stem: kernel.repeat(1, 3, 1, 1, 1) / 3}


def of_data(templates: Tensor) -> Tensor:
    """Templates of the published modalities to those of `DATA`."""
    return templates[[PUBLISHED_MODALITIES.index(name) for name in DATA.modalities]]
