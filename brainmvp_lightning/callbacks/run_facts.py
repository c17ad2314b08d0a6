"""What a run was made of: versions, code, data and parameters, without a name of anybody."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
import torch

from brainmvp_lightning import __version__
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.masking.registry import MASKING
from brainmvp_lightning.methods.registry import METHODS
from brainmvp_lightning.registry import foreign_distributions
from brainmvp_lightning.studies.splits import SPLITS
from brainmvp_lightning.volumes.cache import Cache
from brainmvp_lightning.volumes.index import StudySelection
from brainmvp_lightning.weights.sharing import shareable

MANIFEST_FILE = "manifest.csv"
GIT_SECONDS = 10.0


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    return {
        "brainmvp_lightning": __version__,
        "torch": str(torch.__version__),  # a subclass of str, which checkpoints must not hold
        "lightning": str(lightning.__version__),
        "monai": _installed("monai"),
        "python": platform.python_version(),
    }


def plugins() -> dict[str, str]:
    """Return each distribution, other than ours, that brings parts, and its version."""
    return foreign_distributions(BACKBONES, HEADS, MASKING, METHODS, ADAPTERS)


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit, branch and whether files were changed; None without git or repository.

    Args:
        folder: Any folder of a working tree.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": commit,
        "branch": _git(folder, "branch", "--show-current") or "",
        "dirty": None if changes is None else bool(changes),
    }


def data_facts(data: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any data module
    """Return hashes and counts of the data of a run; None if they come from no cache."""
    cache = getattr(data, "cache", None)
    if not isinstance(cache, Cache):
        return None
    splits = {split: chosen for split in SPLITS if (chosen := _studies(data, split)) is not None}
    return {
        "recipe_hash": cache.recipe_hash,
        "manifest_hash": _manifest_hash(cache),
        "split_hash": split_hash(splits),
        "studies": {split: len(splits.get(split, ())) for split in SPLITS},
        "scans": _scans(data, splits.get("train")),
    }


def split_hash(splits: Mapping[str, StudySelection]) -> str:
    """Return a digest of which study is in which split; the order does not matter."""
    lines = [
        f"{split}\t{dataset}\t{study}"
        for split, chosen in splits.items()
        for dataset, study in zip(
            chosen.column("dataset").tolist(), chosen.column("id").tolist(), strict=True
        )
    ]
    return digest("\n".join(sorted(lines)))


def parameter_counts(task: pl.LightningModule) -> dict[str, int]:
    """Return the numbers of parameters: trainable ones, all, and those of the backbone."""
    parameters = [(name, p) for name, p in task.named_parameters() if not name.startswith("ema.")]
    return {
        "trainable": sum(p.numel() for _, p in parameters if p.requires_grad),
        "total": sum(p.numel() for _, p in parameters),
        "backbone": sum(p.numel() for name, p in parameters if "backbone." in f".{name}"),
    }


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return a digest of a configuration, the same wherever its absolute paths lie."""
    return digest(json.dumps(shareable(configuration), sort_keys=True))


def digest(text: str | bytes) -> str:
    """Return a short digest."""
    content = text.encode() if isinstance(text, str) else text
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def is_trial(trainer: Any) -> bool:  # noqa: ANN401 - the option is missing in Lightning's types
    """Tell whether a run tries a few batches only, so that it must not overwrite results."""
    return bool(trainer.fast_dev_run)


def device_name(trainer: pl.Trainer) -> str:
    """Return the kind of device that a run computes on."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says; None if it is missing, refuses or takes too long."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _studies(data: Any, split: str) -> StudySelection | None:  # noqa: ANN401 - any data module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out was told at the start
        try:
            chosen: StudySelection = data.studies(split)
        except ValueError:  # none is left
            return None
    return chosen


def _scans(data: Any, chosen: StudySelection | None) -> dict[str, int]:  # noqa: ANN401
    """Return the scans of the training studies that are used, by modality."""
    used = data.modalities
    names = [name for name in data.cache.modalities if used is None or name in used]
    if chosen is None:
        return {}
    counts = {name: int(chosen.whole.has_modality(name)[chosen.places].sum()) for name in names}
    return {name: count for name, count in counts.items() if count}


def _manifest_hash(cache: Cache) -> str | None:
    """Return the digest of the manifest; None if it cannot be read, as on some web servers."""
    try:
        return digest(cache.store.read(MANIFEST_FILE))
    except OSError:
        return None
    finally:
        cache.store.close()
