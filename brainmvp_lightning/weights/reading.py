"""Files of weights to tensors by name, without ever running code that a file carries."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from torch import Tensor

from brainmvp_lightning.weights.errors import WeightsError

SUFFIX = ".safetensors"
DIGEST_KEY = "xxh3_64"
_WRAPPER = "module."  # left by DataParallel
_TABLES = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class Content:
    """What a file of weights holds, nothing of which is code."""

    tensors: dict[str, Tensor]
    """By name, without a leading ``module.``."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The plain values of a PyTorch checkpoint beside its tensors, such as hyper-parameters."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The metadata of a ``.safetensors`` file."""


def read_content(path: Path) -> Content:
    """Read all tensors of a ``.safetensors`` file or of a PyTorch checkpoint, and what is said.

    Args:
        path: PyTorch checkpoints hold a table of tensors, or one under ``"state_dict"``.

    Raises:
        FileNotFoundError: If there is no such file.
        WeightsError: If it is damaged, holds no tensors, or could be read only by running code.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights; check the path")
    if path.suffix == SUFFIX:
        tensors, metadata = read_safetensors(path)
        content = Content(tensors, metadata=metadata)
    else:
        content = _read_checkpoint(path)
    if not content.tensors:
        raise WeightsError(f"{path} holds no named tensors; give a file with a 'state_dict'")
    named = {name.removeprefix(_WRAPPER): tensor for name, tensor in content.tensors.items()}
    return Content(named, content.facts, content.metadata)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of `read_content`, which also says what is raised."""
    return read_content(path).tensors


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a ``.safetensors`` file.

    Raises:
        WeightsError: If it is damaged; files of ours carry a digest to tell.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
            metadata: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is damaged or no safetensors file ({error}); copy or download it again"
        ) from error
    if DIGEST_KEY in metadata and metadata[DIGEST_KEY] != digest(tensors):
        raise WeightsError(f"{path} is damaged: its digest differs; copy or download it again")
    return tensors, metadata


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the XXH3 sum of names, shapes and values."""
    total = xxhash.xxh3_64()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _read_checkpoint(path: Path) -> Content:
    damaged = f"{path} is damaged or no PyTorch checkpoint; copy or download it again"
    if not is_intact(path):
        raise WeightsError(damaged)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it holds Python objects that only running code would restore, or "
            "is damaged; save it anew with torch.save({'state_dict': model.state_dict()}, path)"
        ) from error
    except Exception as error:  # a damaged pickle fails in any way there is
        raise WeightsError(damaged) from error
    return Content(_named_tensors(content), _plain_values(content))


def is_intact(path: Path) -> bool:
    """Tell whether a file may be a checkpoint, old (a pickle) or new (an archive).

    Checks the sums of an archive, which torch does not: a flipped bit would load silently.
    """
    with path.open("rb") as file:
        if file.read(1) == b"\x80":
            return True
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError):
        return False


def _named_tensors(content: Any) -> dict[str, Tensor]:  # noqa: ANN401 - whatever was saved
    if not isinstance(content, Mapping):
        return {}
    for table in _TABLES:
        if isinstance(content.get(table), Mapping):
            return _named_tensors(content[table])
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _plain_values(content: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever was saved
    if not isinstance(content, Mapping):
        return {}
    return {str(key): value for key, value in content.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:  # noqa: ANN401 - whatever was saved
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
