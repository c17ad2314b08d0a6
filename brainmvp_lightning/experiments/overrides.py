"""Changes to a training configuration, as the second file that is merged into the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]
Overrides = Mapping[str, Any]

_CLASS = "class_path"
_OPTIONS = "init_args"
_ALWAYS_CLASSES = ("model", "data")


def read_config(path: Path) -> Tree:
    """Read a YAML file of a training.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is no YAML, or no mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no training configuration {path}; name a YAML file of brainmvp fit"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is no YAML file ({reason})") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} holds no options; name a YAML file of brainmvp fit")
    return tree


def expand(overrides: Overrides, base: Tree) -> Tree:
    """Turn dotted names into the nested form that a parser merges into `base`.

    ``init_args`` may be left out: it is added below ``model`` and ``data``, and wherever `base`
    names a class.

    Args:
        overrides: Dotted name to value, such as ``{"model.weights": "encoder.safetensors"}``; null
            removes a part, a list replaces the whole list.
        base: The configuration that is changed.

    Raises:
        ValueError: If two names are at odds, such as ``a`` and ``a.b``.
    """
    tree: Tree = {}
    for name, value in overrides.items():
        _set(tree, _full_name(name.split("."), base), value, name)
    return tree


def merge(*trees: Overrides) -> Tree:
    """Merge nested mappings; the later ones win."""
    merged: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            old = merged.get(key)
            both = isinstance(value, Mapping) and isinstance(old, Mapping)
            merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def flatten(tree: Overrides, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each leaf of nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def run_folder(base: Tree, folder: Path) -> Tree:
    """Return the overrides that send the logs of a run to its folder.

    The loggers of this package follow the run folder by themselves, unless they are told not to.
    """
    logger = base.get("trainer", {}).get("logger")
    listed = logger if isinstance(logger, list) else [logger]
    if not any(isinstance(one, (dict, str)) and not _follows(one) for one in listed):
        return {}
    moved = [one if _follows(one) else _moved(one, folder) for one in listed]
    return {"trainer": {"logger": moved if isinstance(logger, list) else moved[0]}}


def dump(tree: Tree) -> str:
    """Return YAML text that reads back as the same tree."""
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=False)


def _full_name(keys: Sequence[str], base: Tree) -> list[str]:
    full: list[str] = []
    node: Any = base
    for depth, key in enumerate(keys):
        is_class = (isinstance(node, dict) and _CLASS in node) or (
            depth == 1 and keys[0] in _ALWAYS_CLASSES
        )
        # A class without options may be given by its name alone.
        is_class |= depth > 1 and isinstance(node, str)
        if is_class and key not in (_OPTIONS, _CLASS):
            full.append(_OPTIONS)
            node = node.get(_OPTIONS) if isinstance(node, dict) else None
        full.append(key)
        node = node.get(key) if isinstance(node, dict) else None
    return full


def _set(tree: Tree, keys: Sequence[str], value: Any, name: str) -> None:  # noqa: ANN401
    node = tree
    for key in keys[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise ValueError(f"override {name!r} lies inside another override; give one of the two")
    last = keys[-1]
    if isinstance(node.get(last), dict) and not isinstance(value, Mapping):
        raise ValueError(f"override {name!r} lies around another override; give one of the two")
    node[last] = merge(node.get(last) or {}, value) if isinstance(value, Mapping) else value


def _follows(logger: Any) -> bool:  # noqa: ANN401 - a logger of any form
    """Tell whether a logger is one of ours, whose names are a word in small letters."""
    named = logger if isinstance(logger, dict) else {_CLASS: logger}
    is_ours = str(named.get(_CLASS)).rpartition(".")[2].islower()
    return is_ours and "save_dir" not in (named.get(_OPTIONS) or {})


def _moved(logger: Any, folder: Path) -> Any:  # noqa: ANN401 - a logger of any form
    if isinstance(logger, str):
        logger = {_CLASS: logger}
    return merge(logger, {_OPTIONS: {"save_dir": str(folder)}})
