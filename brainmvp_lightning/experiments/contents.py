"""Files and folders that a run reads: which they are, and whether their content is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brainmvp_lightning.experiments.overrides import Overrides, Tree, flatten

CACHE_OPTIONS = ("data.init_args.cache", "data.cache")
# ``index.json`` of a cache holds its recipe and a checksum of all its studies; then what weights
# and templates consist of.
_PATTERNS = (
    "index.json",
    "config.json",
    "model.safetensors",
    "encoder.safetensors",
    "*.nii",
    "*.nii.gz",
)


def inputs_of(config: Tree, runs: Path) -> tuple[Path, ...]:
    """Return the files and folders that a run reads: its cache, weights and templates.

    Args:
        config: Of the run, with its overrides.
        runs: Folder of the experiment; what it makes itself is no input.
    """
    names = [leaf for _, leaf in flatten(config.get("model") or {})]
    names += _caches(config)
    texts = dict.fromkeys(name for name in names if isinstance(name, str) and "\n" not in name)
    inside = runs.resolve()
    paths = [Path(text) for text in texts if text]
    return tuple(p for p in paths if p.exists() and not p.resolve().is_relative_to(inside))


def content_of(path: Path) -> str:
    """Return a checksum of a file, or of the files in a folder that runs read.

    Of a cache that is its index, which names the recipe and the checksum of all its studies.

    Raises:
        OSError: If one cannot be read.
    """
    if path.is_file():
        return _digest(path)
    lines = [f"{file.name} {_digest(file)}" for file in _files_in(path)]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _caches(config: Overrides) -> list[Any]:
    leaves = dict(flatten(config))
    return [leaves[name] for name in CACHE_OPTIONS if name in leaves]


def _files_in(folder: Path) -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from (path for path in sorted(folder.glob(pattern)) if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
