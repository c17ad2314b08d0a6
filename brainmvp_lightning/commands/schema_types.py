"""From type hints to JSON Schema."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import inspect
import types
import typing
from pathlib import PurePath
from typing import Any, Protocol

Schema = dict[str, Any]

_PLAIN: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    dict: "object",
    list: "array",
    type(None): "null",
}
_LISTS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Parts(Protocol):
    """Schemas of classes; each is described once and referred to."""

    def chosen(self, base: type, num_given: int) -> Schema:
        """Return the schema of a class that is named; `num_given` arguments come from code."""

    def options(self, cls: type) -> Schema:
        """Return the schema of the options of a dataclass."""


def type_schema(hint: Any, parts: Parts) -> Schema:  # noqa: ANN401 - any type hint
    """Return the schema of a value; an empty one takes anything.

    Args:
        hint: Type hint of the value.
        parts: Where schemas of classes come from.
    """
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any_of([type_schema(one, parts) for one in arguments])
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is typing.Annotated:
        return type_schema(arguments[0], parts)
    if origin is collections.abc.Callable:
        return _callable_schema(arguments, parts)
    if origin is not None:
        return _container_schema(origin, arguments, parts)
    return _class_schema(hint, parts) if inspect.isclass(hint) else {}


def any_of(schemas: list[Schema]) -> Schema:
    """Join schemas; those that name a type and nothing else become a list of types."""
    if {} in schemas:
        return {}
    plain = [schema["type"] for schema in schemas if set(schema) == {"type"}]
    names = [name for name in dict.fromkeys(plain) if name != "integer" or "number" not in plain]
    values = [value for schema in schemas if set(schema) == {"enum"} for value in schema["enum"]]
    joined = [schema for schema in schemas if set(schema) not in ({"type"}, {"enum"})]
    if values and "string" not in names:
        joined.append({"enum": list(dict.fromkeys(values))})
    if names:
        joined.append({"type": names[0] if len(names) == 1 else names})
    return joined[0] if len(joined) == 1 else {"anyOf": joined}


def lists_classes(hint: Any, parts: Parts) -> bool:  # noqa: ANN401 - any type hint
    """Tell whether a value is, or may be, a list of classes, to which one can add."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(lists_classes(one, parts) for one in typing.get_args(hint))
    items = typing.get_args(hint)
    if typing.get_origin(hint) not in _LISTS or not items:
        return False
    return "$ref" in str(type_schema(items[0], parts))


def _callable_schema(arguments: tuple[Any, ...], parts: Parts) -> Schema:
    """Describe what makes an object: a class whose first arguments the program gives."""
    if arguments and inspect.isclass(arguments[-1]):
        given = arguments[0]
        return parts.chosen(arguments[-1], len(given) if isinstance(given, list) else 0)
    return {}


def _container_schema(origin: Any, arguments: tuple[Any, ...], parts: Parts) -> Schema:  # noqa: ANN401
    if origin is tuple and arguments[-1:] != (...,):
        items = [type_schema(one, parts) for one in arguments]
        length = len(items)
        return {"type": "array", "items": items, "minItems": length, "maxItems": length}
    if origin in _LISTS or origin is tuple:
        return {"type": "array", "items": type_schema(arguments[0], parts)}
    if origin in _MAPPINGS:
        return {"type": "object", "additionalProperties": type_schema(arguments[1], parts)}
    return {"type": "string"} if origin is type else {}


def _class_schema(cls: type, parts: Parts) -> Schema:
    if issubclass(cls, enum.Enum):
        return {"enum": [member.name for member in cls]}
    if issubclass(cls, PurePath | datetime.timedelta):
        return {"type": "string"}
    if dataclasses.is_dataclass(cls):
        return parts.options(cls)
    return parts.chosen(cls, 0)
