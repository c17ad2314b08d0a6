"""From the parsers of commands to plain ones, whose words a shell can complete."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import shtab

from brainmvp_lightning.commands.schema_options import Option, dotted_options
from brainmvp_lightning.commands.schema_parts import SchemaParts


def add_options(
    target: argparse.ArgumentParser, sources: Iterable[argparse.ArgumentParser], parts: SchemaParts
) -> None:
    """Give a parser the options and positional words of others, and those of their classes.

    Args:
        target: Parser of plain words.
        sources: Parsers of a command; of an option that several have, the first one counts.
        parts: Schemas of the classes that options may name.
    """
    known = {"-h", "--help"}
    for source in sources:
        schema = parts.of_parser(source)
        options = dotted_options({**schema, "definitions": parts.definitions})
        for action in source._actions:
            if action.option_strings:
                strings = [word for word in action.option_strings if word not in known]
                _add(target, strings, options.get(action.dest) or _file(action), action.nargs)
                known.update(strings)
            elif not isinstance(action, argparse._SubParsersAction):
                _add(target, [action.dest], options.get(action.dest) or Option(), action.nargs)
        for name, option in options.items():
            if "." in name and f"--{name}" not in known:
                _add(target, [f"--{name}"], option)
                known.add(f"--{name}")


def _file(action: argparse.Action) -> Option:
    """Return the option of an action that has no value of its own: help, a configuration."""
    return Option(help=action.help or "", takes_text=action.dest == "config")


def _add(
    parser: argparse.ArgumentParser,
    strings: list[str],
    option: Option,
    nargs: Any = None,  # noqa: ANN401 - a number or a sign
) -> None:
    if not strings or option.help == argparse.SUPPRESS:
        return
    if nargs == 0:
        parser.add_argument(*strings, action="store_true", help=_help(option))
        return
    kept = {"nargs": nargs} if nargs in ("?", "*", "+") else {}
    choices = option.choices if option.choices and not option.takes_text else None
    action = parser.add_argument(*strings, choices=choices, help=_help(option), **kept)
    if option.takes_text:
        action.complete = shtab.FILE  # type: ignore[attr-defined]


def _help(option: Option) -> str:
    return option.help.partition(". ")[0].replace("%", "%%")
