"""The result of pre-training as one small file that needs none of our code to read."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning import __version__
from brainmvp_lightning.weights.export import write_weights


class EncoderExport(Callback):
    """Writes ``encoder.safetensors`` with a manifest to the run folder.

    The manifest holds the preparation recipe, the modality order and geometry of the templates,
    the configuration of the networks, versions and a licence note.

    Args:
        licence_note: Terms of the data that the weights were learned from.
        with_templates: Whether the modality templates go into the file.
    """

    def __init__(
        self,
        licence_note: str = "terms follow the data the weights were learned from",
        with_templates: bool = True,
    ) -> None:
        self.licence_note = licence_note
        self.with_templates = with_templates

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file."""
        backbone: Any = pl_module.backbone
        tensors = {f"encoder.{name}": value for name, value in backbone.state_dict().items()}
        templates: Any = getattr(getattr(pl_module, "method", None), "templates", None)
        manifest = self._manifest(trainer, pl_module)
        if templates is not None and self.with_templates:
            tensors["templates"] = templates.volumes().detach()
            manifest["templates"] = {
                "modalities": list(templates.modalities),
                "affine": templates.affine().tolist(),
            }
        path = Path(trainer.default_root_dir) / "encoder.safetensors"
        write_weights(path, {k: v.cpu().contiguous() for k, v in tensors.items()}, manifest)

    def _manifest(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        backbone: Any = pl_module.backbone
        cache: Any = getattr(getattr(trainer, "datamodule", None), "cache", None)
        return {
            "backbone": {
                "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
                "in_channels": backbone.in_channels,
                "feature_channels": list(backbone.feature_channels),
                "strides": list(backbone.strides),
            },
            "configuration": _plain(pl_module.hparams),
            "recipe": _plain(getattr(cache, "recipe", {})),
            "recipe_hash": getattr(cache, "recipe_hash", ""),
            "modalities": list(getattr(cache, "modalities", ())),
            "epochs": trainer.current_epoch + 1,
            "steps": trainer.global_step,
            "versions": {
                "brainmvp_lightning": __version__,
                "torch": torch.__version__,
                "lightning": lightning.__version__,
                "python": platform.python_version(),
            },
            "licence_note": self.licence_note,
        }


def _plain(value: Any) -> Any:  # noqa: ANN401 - any configuration value
    """Turn configuration values into what JSON can hold."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): _plain(v) for k, v in value.items() if k != "_instantiator"}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
