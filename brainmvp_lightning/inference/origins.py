"""Whose code a file of a model may name: what is installed, or already runs."""

from __future__ import annotations

import importlib.util
import json
import site
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit


def check_origin(class_path: str) -> None:
    """Refuse a class whose module would run code that nobody installed.

    A module is fine if it is imported already (nothing new runs), is one of this package, or lies
    where packages are installed, or where an editable installation of it is. A file beside a
    model, or in the current folder, is none of these. Nothing is imported to find out.

    Args:
        class_path: Registered name, or import path of a class.

    Raises:
        ValueError: If it is such code.
    """
    module = class_path.rpartition(".")[0]
    if not module or module in sys.modules:
        return
    parts = module.split(".")
    if parts[0] in sys.stdlib_module_names or not all(map(str.isidentifier, parts)):
        return  # never imported, or nothing that can be
    if "__main__" in parts:
        raise ValueError(f"{class_path} is part of a program that would run; name a network")
    places = _places(parts[0])
    if parts[0] != __name__.partition(".")[0] and not _is_installed(parts[0], places):
        raise ValueError(
            f"{class_path} is code of {places[0]}, which is not installed, and the file of a model "
            "does not choose what runs; if you trust it, install its package (pip install -e .), "
            f"or import {module} in Python before the model is read"
        )


def _places(package: str) -> list[Path]:
    """Return where a top-level package or module lies; empty if there is none."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return [Path(package)]  # made by hand: nobody can tell where it is from
    if spec is None:
        return []
    found = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    return [Path(place).resolve() for place in found]


def _is_installed(package: str, places: list[Path]) -> bool:
    roots = _site_folders()
    roots += _editable_folders(package, roots)
    return all(any(place.is_relative_to(root) for root in roots) for place in places)


def _site_folders() -> list[Path]:
    schemes = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    named = [*schemes, *site.getsitepackages(), site.getusersitepackages()]
    return list(dict.fromkeys(Path(folder).resolve() for folder in named if folder))


def _editable_folders(package: str, site_folders: list[Path]) -> list[Path]:
    """Return the folders that ``pip install -e`` took a package from, if it did."""
    addresses = [
        _editable_address(distribution)
        for distribution in distributions(path=list(map(str, site_folders)))
        if package in (distribution.read_text("top_level.txt") or package).split()
    ]
    return [Path(unquote(urlsplit(text).path)).resolve() for text in addresses if text]


def _editable_address(distribution: Distribution) -> str:
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        return str(origin["url"]) if origin["dir_info"]["editable"] else ""
    except (KeyError, TypeError, ValueError):
        return ""
