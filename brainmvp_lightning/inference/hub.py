"""Weights from and to the Hugging Face hub, or a folder laid out like there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from brainmvp_lightning.inference.export import CARD_FILE
from brainmvp_lightning.inference.loading import WEIGHTS_FILE, load_model
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.reading import SUFFIX
from brainmvp_lightning.weights.sources import CONFIG_FILE, ENCODER_FILE

MODEL = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)
ENCODER = (ENCODER_FILE, CARD_FILE)
FILES = (*MODEL, ENCODER_FILE)
_WEIGHTS = (SUFFIX, ".ckpt", ".pt", ".pth")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def from_pretrained(name_or_path: str | Path, revision: str | None = None) -> FineTunedModel:
    """Return a fine-tuned model, on the CPU and in eval mode.

    Args:
        name_or_path: A folder or checkpoint, or the name of a repository on the hub, such as
            ``owner/name``. What is there on disk is not looked for on the hub, nor are names of
            weights (``.safetensors``, ``.ckpt``, ``.pt``, ``.pth``) or such that start with ``.``,
            ``/`` or ``~``.
        revision: Branch, tag or commit of the repository.

    Raises:
        FileNotFoundError: If there is no such folder, nor a repository of that name.
        ModuleNotFoundError: If a repository is asked for without the package of the hub.
        WeightsError: If the download fails, or what comes is no model of this package.
    """
    return load_model(local_copy(name_or_path, revision))


def local_copy(name_or_path: str | Path, revision: str | None = None) -> Path:
    """Return where weights are on disk, after a download if they are not there yet.

    Args:
        name_or_path: As in `from_pretrained`; a repository may also hold an encoder, for
            `brainmvp_lightning.weights.sources.open_source`.
        revision: Branch, tag or commit of the repository.

    Raises:
        ModuleNotFoundError: If a repository is asked for without the package of the hub.
        WeightsError: If the download fails.
    """
    path = Path(name_or_path)
    if path.exists() or not _is_repository(str(name_or_path)):
        return path
    return _download(str(name_or_path), revision)


def _is_repository(name: str) -> bool:
    """Tell whether a name can be one of the hub, not a file or folder that is missing."""
    is_path = name.startswith((".", "/", "~")) or name.lower().endswith(_WEIGHTS)
    return not is_path and _REPOSITORY.fullmatch(name) is not None


def push_to_hub(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload an exported model or encoder to the hub, as the user who is logged in there.

    Args:
        folder: What `brainmvp weights export --format huggingface` wrote.
        repository: ``owner/name``; made if it is not there.
        private: Whether a new repository is visible to its owners only.

    Returns:
        Address of the upload.

    Raises:
        ModuleNotFoundError: If the package of the hub is missing.
        WeightsError: If the folder is no exported model, or the upload fails.
    """
    expected = ENCODER if (folder / ENCODER_FILE).is_file() else MODEL
    missing = [name for name in expected if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{folder} lacks {', '.join(missing)}; export the model with 'brainmvp weights export "
            "--format huggingface' first"
        )
    hub = _hub()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repository, folder_path=str(folder), allow_patterns=list(FILES)
        )
    except (OSError, ValueError) as error:
        raise WeightsError(_failed(f"{folder} could not be uploaded to", repository, error)) from (
            error
        )
    return str(done)


def _download(repository: str, revision: str | None) -> Path:
    try:
        folder = _hub().snapshot_download(repository, revision=revision, allow_patterns=list(FILES))
    except (OSError, ValueError) as error:
        what = "there is no such folder, and the model could not be downloaded from"
        raise WeightsError(_failed(what, repository, error)) from error
    return Path(folder)


def _hub() -> Any:  # noqa: ANN401 - a module
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "models on the Hugging Face hub need the package huggingface_hub: "
            'pip install "brainmvp-lightning[hub]"'
        ) from error
    return huggingface_hub


def _failed(what: str, repository: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) < 300 else reason[:300] + " ..."
    return (
        f"{what} {repository} ({type(error).__name__}: {reason}); check the name, the network and "
        "your access ('hf auth login')"
    )
