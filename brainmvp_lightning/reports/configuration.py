"""Configurations of runs as flat keys, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Where a run writes differs in each run and says nothing.
_PLACES = ("default_root_dir", "save_dir", "ckpt_path")


def flatten(config: Any, prefix: str = "") -> dict[str, str]:  # noqa: ANN401 - any YAML value
    """Return the leaves of a configuration as texts, by dotted key.

    ``init_args`` is left out of keys, and a class is called by its last word, as on the command
    line.
    """
    if isinstance(config, Mapping) and config:
        leaves: dict[str, str] = {}
        for key, value in config.items():
            name = prefix if key in ("init_args", "class_path") else f"{prefix}.{key}".strip(".")
            if key == "class_path":
                leaves[name or "class_path"] = str(value).rpartition(".")[2]
            else:
                leaves.update(flatten(value, name))
        return leaves
    if isinstance(config, list) and any(isinstance(value, Mapping) for value in config):
        leaves = {}
        for number, value in enumerate(config):
            leaves.update(flatten(value, f"{prefix}[{number}]"))
        return leaves
    return {prefix: _text(config)} if prefix else {}


def differences(configs: Sequence[Mapping[str, str]]) -> dict[str, list[str | None]]:
    """Return the keys whose values differ, with the value of each run; None where it has no key."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return {
        key: values
        for key in sorted(keys)
        if key.rpartition(".")[2] not in _PLACES
        and len(set(values := [config.get(key) for config in configs])) > 1
    }


def task_of(config: Mapping[str, Any]) -> str:
    """Return what a run with this configuration learns, in a few words."""
    name = flatten(config).get("model", "").removesuffix("Task")
    return {"Pretrain": "pre-training", "": "an unknown task"}.get(name, name.lower())


def _text(value: Any) -> str:  # noqa: ANN401 - any YAML value
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return str(value)
