"""The result of pre-training as one small file that needs none of our code to read."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from brainmvp_lightning.callbacks.run_facts import is_trial, plugins, versions
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.inference.card import encoder_card
from brainmvp_lightning.inference.components import component_spec
from brainmvp_lightning.tasks.sharding import whole_state
from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.weights.export import write_weights
from brainmvp_lightning.weights.sharing import shareable
from brainmvp_lightning.weights.sources import pretrained_source

FILE = "encoder.safetensors"


class EncoderExport(Callback):
    """Writes ``encoder.safetensors`` with a manifest, and a card, to the run folder.

    The manifest holds the preparation recipe, the modality order and geometry of the templates,
    the networks with all options, versions and a licence note; ``encoder.md`` says it in words.
    Absolute paths are shortened to names, for these files are made to be shared.

    Args:
        licence_note: Terms of the data that the weights were learned from.
        with_templates: Whether the modality templates go into the file.
        with_decoder: Whether the decoder that reconstructs images goes into the file;
            segmentation heads can start from it.
    """

    def __init__(
        self,
        licence_note: str = "terms follow the data the weights were learned from",
        with_templates: bool = True,
        with_decoder: bool = True,
    ) -> None:
        self.licence_note = licence_note
        self.with_templates = with_templates
        self.with_decoder = with_decoder

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write both files, unless this is a trial of a few batches."""
        if is_trial(trainer):
            return
        self._write(trainer, pl_module, whole_state(pl_module))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write them if there are none.

        A training that was killed at its very end is over when it is resumed, so that
        `on_train_end` does not come again.
        """
        if is_trial(trainer):
            return
        is_there = (Path(trainer.default_root_dir) / FILE).exists()
        if not trainer.strategy.broadcast(is_there):
            self._write(trainer, pl_module, whole_state(pl_module))

    @rank_zero_only
    def _write(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, state: dict[str, Any]
    ) -> None:
        path = Path(trainer.default_root_dir) / FILE
        manifest = self._manifest(trainer, pl_module)
        tensors = self._tensors(path, state)
        templates: Any = getattr(getattr(pl_module, "method", None), "templates", None)
        if templates is not None and self.with_templates:
            tensors["templates"] = templates.volumes().detach()
            manifest["templates"] = {
                "modalities": list(templates.modalities),
                "affine": templates.affine().tolist(),
            }
        write_weights(path, tensors, manifest)
        parts = sorted({name.partition(".")[0] for name in tensors})
        write_bytes(path.with_suffix(".md"), encoder_card(manifest, parts).encode())

    def _tensors(self, path: Path, state: dict[str, Any]) -> dict[str, Tensor]:
        source = pretrained_source(path, state, {})
        tensors = {f"encoder.{name}": tensor for name, tensor in source.encoder.items()}
        if self.with_decoder:
            tensors |= {f"decoder.{name}": tensor for name, tensor in source.decoder.items()}
        return tensors

    def _manifest(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        backbone: Any = pl_module.backbone
        data: Any = getattr(trainer, "datamodule", None)
        cache: Any = getattr(data, "cache", None)
        clip: Any = getattr(data, "clip", None)
        return {
            "backbone": {
                "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
                "in_channels": backbone.in_channels,
                "feature_channels": list(backbone.feature_channels),
                "strides": list(backbone.strides),
                **shareable(_constructor(pl_module)),
            },
            "configuration": shareable(pl_module.hparams),
            "recipe": shareable(getattr(cache, "recipe", {})),
            "recipe_hash": getattr(cache, "recipe_hash", ""),
            "modalities": list(getattr(cache, "modalities", ())),
            **_seen(data),
            "clip": {} if clip is None else shareable(asdict(clip)),
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "versions": versions(),
            "plugins": plugins(),
            "licence_note": self.licence_note,
        }


def _seen(data: Any) -> dict[str, Any]:  # noqa: ANN401 - any data module
    """Return what was trained on: number of studies, and of scans of each modality."""
    if not isinstance(data, PretrainDataModule):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out was told at the start
        studies = data.studies("train")
    names = [n for n in data.cache.modalities if data.modalities is None or n in data.modalities]
    counts = {name: int(studies.whole.has_modality(name)[studies.places].sum()) for name in names}
    return {"studies": len(studies), "scans": {n: count for n, count in counts.items() if count}}


def _constructor(pl_module: pl.LightningModule) -> dict[str, Any]:
    """Return class and options that build the backbone again, unless a function of a user does."""
    try:
        return component_spec(pl_module.hparams["backbone"])
    except (KeyError, TypeError):
        return {}
