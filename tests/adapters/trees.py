"""Small data sets on disk, and the shipped configurations that prepare them."""

from collections.abc import Mapping
from pathlib import Path

from brainmvp_lightning.commands.prepare import main
from brainmvp_lightning.volumes.cache import Cache

CONFIGS = Path(__file__).parents[2] / "configs" / "prepare"


def touch(root: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def prepare_shipped(name: str, folder: Path, options: Mapping[str, str]) -> Cache:
    """Run ``brainmvp prepare`` on a shipped configuration with the paths of a test."""
    arguments = ["--config", str(CONFIGS / f"{name}.yaml"), "--cache", str(folder / "cache")]
    for key, value in {"workers": "1", **options}.items():
        arguments += [f"--{key}", value]
    assert main(arguments) == 0
    return Cache.open(folder / "cache")
