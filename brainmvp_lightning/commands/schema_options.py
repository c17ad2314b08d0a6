"""All options of a schema by dotted name, as the command line and sweeps spell them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from brainmvp_lightning.commands.schema_types import Schema

_DEEPEST_CLASS = 3
"""Classes inside classes whose options get names: task, method and head, for example."""


@dataclass
class Option:
    """An option of a command.

    Attributes:
        choices: Words that can follow it, if these are known.
        schemas: What its value may be; an option of several classes has several.
        help: One sentence.
        takes_text: Whether the value is any text, such as the name of a file.
        takes_class: Whether it is a class, perhaps one of others, which has options of its own.
    """

    choices: list[str] = field(default_factory=list)
    schemas: list[Schema] = field(default_factory=list)
    help: str = ""
    takes_text: bool = False
    takes_class: bool = False


def dotted_options(document: Schema) -> dict[str, Option]:
    """Return the options of a schema without ``init_args``, as one may write them in short."""
    options: dict[str, Option] = {}
    _collect(document, document.get("definitions", {}), "", options, 0)
    return {name: option for name, option in options.items() if "+" not in name}


def _collect(
    schema: Schema,
    definitions: Mapping[str, Schema],
    name: str,
    options: dict[str, Option],
    num_classes: int,
) -> None:
    for part in _parts(schema, definitions):
        for key, value in part.get("properties", {}).items():
            if key == "init_args" and num_classes < _DEEPEST_CLASS:
                _collect(value, definitions, name, options, num_classes + 1)
            elif key not in ("class_path", "init_args", "dict_kwargs"):
                _add(value, definitions, f"{name}.{key}".lstrip("."), options, num_classes)


def _add(
    schema: Schema,
    definitions: Mapping[str, Schema],
    name: str,
    options: dict[str, Option],
    num_classes: int,
) -> None:
    option = options.setdefault(name, Option(help=schema.get("description", "")))
    if schema not in option.schemas:
        option.schemas.append(schema)
    for part in _parts(schema, definitions):
        words = [*option.choices, *_words(part), *_words(part.get("items", {}))]
        option.choices = list(dict.fromkeys(words))
        kinds = [part["type"]] if isinstance(part.get("type"), str) else part.get("type", [])
        is_text = "string" in kinds and set(kinds) <= {"string", "null"}
        option.takes_text |= is_text and "pattern" not in part
        option.takes_class |= "class_path" in part.get("properties", {})
    _collect(schema, definitions, name, options, num_classes)


def _parts(schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[Schema]:
    """Yield a schema and all that it is put together from.

    What stands under ``else`` are shorter spellings of what stands under ``then``.
    """
    yield schema
    inner = [schema["then"]] if "then" in schema else []
    for key in ("anyOf", "allOf"):
        inner += schema.get(key, [])
    if "$ref" in schema:
        inner.append(definitions[schema["$ref"].rpartition("/")[2]])
    for one in inner:
        yield from _parts(one, definitions)


def _words(schema: Schema) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    for value in schema.get("enum", []):
        yield str(value).lower() if isinstance(value, bool) else str(value)
    kinds = schema.get("type", [])
    if "boolean" in kinds:
        yield from ("true", "false")
    if "null" in kinds:
        yield "null"
