"""Schemas of parsers and of the classes that their options name."""

from __future__ import annotations

import argparse
from typing import Any

from jsonargparse import ArgumentParser

from brainmvp_lightning.commands.schema_classes import (
    LIGHTNING,
    PACKAGE,
    Catalogue,
    Choice,
    is_known,
    summary,
)
from brainmvp_lightning.commands.schema_text import described, plain_value, tidy
from brainmvp_lightning.commands.schema_types import Schema, lists_classes, type_schema


class SchemaParts:
    """Describes each class once, under ``definitions``.

    Args:
        catalogue: Finds the classes that can be chosen.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.definitions: dict[str, Schema] = {}
        self._catalogue = catalogue
        self._owners: dict[str, tuple[type, int]] = {}

    def chosen(self, base: type, num_given: int) -> Schema:
        """Return the schema of a class that is named in place of `base`.

        It is the name of a class, or a mapping with ``class_path`` and ``init_args``. A layer above
        another file may leave out ``class_path``, and then ``init_args``, too.
        """
        if not is_known(base):  # such as torch.nn.Module, in whose place there are hundreds
            return {}
        name, is_new = self._name(base.__name__, base, num_given)
        if is_new:
            choices = self._catalogue.choices(base)
            self.definitions[name] = {}  # a class may name its own base
            options = {choice: self._options_of(choice, num_given) for choice in choices}
            self.definitions[name] = _choice_schema(base, options) if options else {}
        return _reference(name)

    def options(self, cls: type) -> Schema:
        """Return the schema of the options of a dataclass."""
        if not self._catalogue.counts(cls):
            return {"type": "object"}
        name, is_new = self._name(cls.__name__, cls, 0)
        if is_new:
            self.definitions[name] = self._class_schema(cls, 0)
        return _reference(name)

    def of_parser(self, parser: argparse.ArgumentParser) -> Schema:
        """Return the schema of a file with the options of a parser."""
        schema = closed({})
        for action in parser._actions:
            group = getattr(action, "basetype", None)
            if isinstance(group, type):
                _place(schema, action.dest, {**closed({}), **described(summary(group))})
            elif action.default != argparse.SUPPRESS and action.dest != "config":
                value = self._action_schema(action)
                _place(schema, action.dest, value)
                if lists_classes(_hint(action), self):
                    _place(schema, f"{action.dest}+", value)
        return schema

    def _options_of(self, choice: Choice, num_given: int) -> Schema:
        name, is_new = self._name(choice.key, choice.cls, num_given)
        if is_new:
            self.definitions[name] = self._class_schema(choice.cls, num_given)
        return _reference(name)

    def _class_schema(self, cls: type, num_given: int) -> Schema:
        """Return the schema of the arguments of a class but for the first `num_given`."""
        parser, skip = ArgumentParser(), {num_given} if num_given else None
        try:
            parser.add_class_arguments(cls, skip=skip, fail_untyped=False, sub_configs=True)
        except (ValueError, ImportError):  # of others, with options that no file can hold
            return {"type": "object", **described(summary(cls))}
        return {**self.of_parser(parser), **described(summary(cls))}

    def _name(self, wanted: str, cls: type, num_given: int) -> tuple[str, bool]:
        """Return the name of a definition, and whether it has yet to be written."""
        owner, name = (cls, num_given), wanted
        while self._owners.get(name, owner) != owner:
            name += "_"
        is_new = name not in self._owners
        self._owners[name] = owner
        return name, is_new

    def _action_schema(self, action: argparse.Action) -> Schema:
        hint = _hint(action)
        schema = {"enum": list(action.choices)} if action.choices else type_schema(hint, self)
        if action.nargs == 0:
            schema = {"type": "boolean"}
        extra = described(tidy(action.help or ""))
        default = plain_value(action.default)
        if default is not None or "null" in str(schema):
            extra["default"] = default
        if "$ref" in schema:  # neighbours of a reference would be ignored
            schema = {"allOf": [schema]}
        return {**schema, **extra}


def closed(properties: dict[str, Schema]) -> Schema:
    """Return the schema of a mapping with these keys and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _hint(action: argparse.Action) -> Any:  # noqa: ANN401 - any type hint
    """Return the type of an option's value, whichever kind of parser holds it; else any text."""
    return getattr(action, "_typehint", action.type or str)


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _place(schema: Schema, dotted: str, value: Schema) -> None:
    """Put a schema at a dotted name, below schemas of the groups on the way."""
    *groups, last = dotted.split(".")
    for group in groups:
        schema = schema["properties"].setdefault(group, closed({}))
    schema["properties"][last] = value


def _choice_schema(base: type, options: dict[Choice, Schema]) -> Schema:
    """Return the schema of a class that is named, alone or above its options."""
    names = [
        {
            "enum": [choice.name for choice in options],
            "enumDescriptions": [choice.summary for choice in options],
        },
        {"type": "string", "pattern": _paths(list(options))},
    ]
    mapping = {
        "type": "object",
        "properties": {"class_path": {"anyOf": names}, "init_args": {"type": "object"}},
        "if": {"required": ["class_path"]},
        "then": _with_class(options),
        "else": _without_class(list(options.values())),
    }
    return {**described(summary(base)), "anyOf": [*names, mapping]}


def _with_class(options: dict[Choice, Schema]) -> Schema:
    """Return the schema of a mapping whose ``class_path`` says which options there are."""
    by_class = [
        {
            "if": {"properties": {"class_path": {"pattern": choice.pattern}}},
            "then": {"properties": {"init_args": its_options}},
        }
        for choice, its_options in options.items()
    ]
    keys = closed({"class_path": {}, "init_args": {}, "dict_kwargs": {"type": "object"}})
    return {**keys, "allOf": by_class}


def _without_class(options: list[Schema]) -> Schema:
    """Return the schema of options of a class that another file names."""
    below_init_args = {**closed({"init_args": {"anyOf": options}}), "required": ["init_args"]}
    return {"anyOf": [below_init_args, *options]}


def _paths(choices: list[Choice]) -> str:
    """Return an expression for import paths and files.

    Ours and Lightning's are known; other paths into these packages would be misspelt.
    """
    known = "|".join(f"({choice.pattern})" for choice in choices)
    return rf"{known}|^(?!({'|'.join((PACKAGE, *LIGHTNING))})\.)[\w/-]*[./]"
