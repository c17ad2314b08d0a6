"""Models as folders that carry all that is needed to use them."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from brainmvp_lightning import __version__
from brainmvp_lightning.inference.card import LIBRARY, encoder_card, model_card
from brainmvp_lightning.inference.loading import WEIGHTS_FILE
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.volumes.atomic import TEMPORARY, write_bytes
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.export import to_safetensors, write_weights
from brainmvp_lightning.weights.sources import CONFIG_FILE, ENCODER_FILE

CARD_FILE = "README.md"


def save_model(
    model: FineTunedModel, folder: Path, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a model as model hubs keep it: ``config.json``, ``model.safetensors``, ``README.md``.

    `brainmvp_lightning.inference.hub.from_pretrained` reads it.

    Args:
        model: What is exported; averaged weights are already in it, if the run had them.
        folder: New or empty. It is complete or not there, whatever happens.
        metadata: What the card says beside the model's own facts; see `card.model_card`.

    Raises:
        FileExistsError: If the folder holds something.
        WeightsError: If weights are not finite, or the metadata are no plain JSON.
    """
    known = dict(metadata or {})
    with new_folder(folder) as part:
        write_model(model, part, known)
        card = model_card(model.spec(), known, folder.resolve().name)
        (part / CARD_FILE).write_text(card, encoding="utf-8")


def save_encoder(
    tensors: Mapping[str, Tensor],
    manifest: Mapping[str, Any],
    folder: Path,
    licence: str | None = None,
) -> None:
    """Write pre-trained weights as model hubs keep them: ``encoder.safetensors``, ``README.md``.

    Args:
        tensors: As in `weights.export.write_weights`.
        manifest: As there.
        folder: New or empty. It is complete or not there, whatever happens.
        licence: Identifier for the card, such as ``apache-2.0``.

    Raises:
        FileExistsError: If the folder holds something.
        WeightsError: If a tensor has a foreign name, or the manifest is no plain JSON.
    """
    parts = sorted({name.partition(".")[0] for name in tensors})
    with new_folder(folder) as part:
        write_weights(part / ENCODER_FILE, tensors, manifest)
        card = encoder_card(manifest, parts, licence)
        (part / CARD_FILE).write_text(card, encoding="utf-8")


def write_model(model: FineTunedModel, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write ``config.json`` and ``model.safetensors`` into a folder.

    Raises:
        WeightsError: If weights are not finite, or the metadata are no plain JSON.
    """
    tensors = model.state_dict()
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{len(broken)} tensors of the model, such as {broken[0]}, are not finite; export an "
            "earlier checkpoint"
        )
    config = {**model.spec(), "library": f"{LIBRARY} {__version__}", "metadata": dict(metadata)}
    write_bytes(folder / CONFIG_FILE, to_json(config))
    write_bytes(folder / WEIGHTS_FILE, to_safetensors(tensors, {}))


def to_json(content: Mapping[str, Any]) -> bytes:
    """Return the content of a JSON file.

    Raises:
        WeightsError: If JSON cannot hold it.
    """
    try:
        return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise WeightsError(f"what is to be told of the model is no plain JSON ({error})") from error


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Lend a temporary folder that takes the place of `folder` once all is written.

    Raises:
        FileExistsError: If `folder` holds something or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty; choose a new folder, or empty this one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.resolve().parent / f".{folder.resolve().name}.{secrets.token_hex(6)}{TEMPORARY}"
    part.mkdir()
    try:
        yield part
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
