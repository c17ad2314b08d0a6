"""A resolved configuration as options with dotted paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flat_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by path without ``init_args``; a class stands there by its name alone."""
    return dict(_flat(config, ""))


def class_name(value: Any) -> str:  # noqa: ANN401 - a class in a configuration, or none
    """Return the name of a class in a configuration; ``none`` if there is none."""
    if isinstance(value, Mapping):
        return str(value.get("class_path", "none")).rpartition(".")[2]
    return "none" if value in (None, False) else str(value)


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        path = f"{prefix}{name}"
        if not isinstance(value, Mapping):
            yield path, value
        elif "class_path" in value:
            yield path, class_name(value)
            yield from _flat(value.get("init_args") or {}, f"{path}.")
        else:
            yield from _flat(value, f"{path}.")
