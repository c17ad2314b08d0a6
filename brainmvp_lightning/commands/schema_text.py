"""Descriptions and defaults of a schema, as plain words and values."""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from pathlib import PurePath
from typing import Any

from jsonargparse import Namespace

_LONGEST = 300
# What the parser says about groups describes the parser.
_NO_DESCRIPTION = ("One or more arguments specifying", "Path to a configuration file")


def described(text: str) -> dict[str, Any]:
    """Return the part of a schema that describes it, which is nothing without words."""
    return {"description": text} if text else {}


def tidy(text: str) -> str:
    """Put a help text on one line, without its default and without marks of a markup."""
    if text.startswith(_NO_DESCRIPTION):
        return ""
    text = re.sub(r"\s*Defaults?(:| to) ``.*?``\.?", "", " ".join(text.split()))
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").strip()
    if len(text) <= _LONGEST:
        return text
    kept = text[:_LONGEST]
    return kept[: kept.rfind(". ") + 1] or kept[: kept.rfind(" ")] + " ..."


def plain_value(value: Any) -> Any:  # noqa: ANN401 - any default
    """Return a default as JSON can hold it; a class is its name, what has no words is None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, dict):
        return _plain_mapping(value)
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    return _word(value)


def _plain_mapping(value: dict[Any, Any]) -> Any:  # noqa: ANN401 - a mapping, or a name
    if "class_path" not in value:
        return {str(key): plain_value(one) for key, one in value.items()}
    name = str(value["class_path"]).rpartition(".")[2]
    arguments = plain_value(value.get("init_args") or {})
    return {"class_path": name, "init_args": arguments} if arguments else name


def _word(value: Any) -> Any:  # noqa: ANN401 - any default
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, PurePath):
        return str(value)
    return value if isinstance(value, str | int | float | bool) else None
