"""Our file format: safetensors with a manifest that says what the weights are.

Tensors are called ``encoder.<name in the backbone>``, ``decoder.<name in the decoder>`` and
``templates``. The manifest is one JSON object under the metadata key ``brainmvp_lightning``, and
beside it stands a digest of the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from brainmvp_lightning import __version__
from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.reading import DIGEST_KEY, digest, read_safetensors

METADATA_KEY = "brainmvp_lightning"
SCHEMA_VERSION = 1


def write_weights(path: Path, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Write weights and manifest, so that the file is either complete or not there.

    Args:
        path: Ends in ``.safetensors``; missing folders are made.
        tensors: Weights by name, of any layout, on any device.
        manifest: What JSON can hold: recipe, modalities and their order, networks, licence note.
            The version of the schema is added, and those of the packages where they are missing.

    Raises:
        WeightsError: If a name is not one of the format's, or the manifest is no JSON.
        OSError: If the file cannot be written.
    """
    foreign = [name for name in tensors if _part(name) is None]
    if foreign:
        raise WeightsError(
            f"{path}: tensors must be called encoder.*, decoder.* or templates, got {foreign[0]!r}"
        )
    versions = {"brainmvp_lightning": __version__, "torch": str(torch.__version__)}
    content = {"versions": versions, **manifest, "schema": SCHEMA_VERSION}
    try:
        text = json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the manifest is not plain JSON ({error})") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, to_safetensors(tensors, {METADATA_KEY: text}))


def to_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file with a digest, which `read_safetensors` checks.

    Args:
        tensors: By name, of any layout, on any device.
        metadata: More to put into the header.
    """
    plain = {name: _plain(tensor) for name, tensor in tensors.items()}
    content: bytes = save(plain, {**metadata, DIGEST_KEY: digest(plain), "format": "pt"})
    return content


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file made by `write_weights`.

    Returns:
        Tensors by name, and the manifest.

    Raises:
        FileNotFoundError: If there is no such file.
        WeightsError: If it is damaged, of another kind, or from a later version of this package.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights; check the path")
    tensors, metadata = read_safetensors(path)
    manifest = parse_manifest(path, metadata)
    if manifest is None:
        raise WeightsError(
            f"{path} has no manifest of brainmvp_lightning; convert it with 'brainmvp weights "
            "import'"
        )
    return tensors, manifest


def parse_manifest(path: Path, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the manifest among the metadata of a safetensors file, if there is one.

    Raises:
        WeightsError: If it is damaged or from a later version of this package.
    """
    if METADATA_KEY not in metadata:
        return None
    try:
        manifest = json.loads(metadata[METADATA_KEY])
        schema = int(manifest["schema"])
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path}: its manifest is damaged; write the file again") from error
    if schema > SCHEMA_VERSION:
        raise WeightsError(
            f"{path} has schema version {schema}, this package reads up to {SCHEMA_VERSION}; "
            "update brainmvp-lightning"
        )
    return dict(manifest)


def _part(name: str) -> str | None:
    part, dot, rest = name.partition(".")
    is_ours = name == "templates" or (part in ("encoder", "decoder") and dot and rest)
    return part if is_ours else None


def _plain(tensor: Tensor) -> Tensor:
    # A copy: the format wants dense tensors that share no memory.
    return tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format).clone()
