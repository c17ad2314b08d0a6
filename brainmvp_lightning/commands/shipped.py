"""Where the shipped configuration files lie."""

from __future__ import annotations

import sys
from pathlib import Path


def config_file(name: str) -> Path:
    """Return the shipped configuration `name`, such as ``"demo/pretrain.yaml"``.

    A ``configs`` folder in the current folder comes first, then that of a checkout, then that of an
    installed package.

    Raises:
        FileNotFoundError: If it is in none of them.
    """
    folders = (
        Path.cwd() / "configs",
        Path(__file__).parents[2] / "configs",
        Path(sys.prefix) / "share" / "brainmvp_lightning" / "configs",
    )
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(str(folder) for folder in folders)
    raise FileNotFoundError(
        f"configuration {name!r} is in none of {looked}; install the package anew"
    )
