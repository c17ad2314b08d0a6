"""``brainmvp completion``: a script with which the shell completes commands, options and names."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Literal

import shtab

from brainmvp_lightning.commands.completion_commands import (
    Command,
    first_sentence,
    other_commands,
)
from brainmvp_lightning.commands.completion_tree import add_options
from brainmvp_lightning.commands.parsing import TeachingParser
from brainmvp_lightning.commands.schema_documents import class_parts

SUMMARY = "write a script with which the shell completes commands, options and names"


def main(argv: list[str]) -> int:
    """Run the command; return 0, or 2 if the file cannot be written."""
    options = build_parser().parse_args(argv)
    script = shtab.complete(completion_parser(), shell=options.shell) + "\n"
    if options.output is None:
        sys.stdout.write(script)
        return 0
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(script, encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"brainmvp completion: error: the script cannot be written ({error})\n")
        return 2
    sys.stdout.write(f"{options.output}\n")
    return 0


def build_parser() -> TeachingParser:
    """Return the parser of the command."""
    parser = TeachingParser(
        prog="brainmvp completion", description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}."
    )
    parser.add_argument("shell", type=Literal["bash", "zsh"], help="whose script")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file; else the screen")
    return parser


def completion_parser() -> argparse.ArgumentParser:
    """Return a parser of plain words with all commands, from which the script is made."""
    root = argparse.ArgumentParser(prog="brainmvp")
    root.add_argument("--version", action="store_true")
    root.add_argument("--import", help="module with parts of your own")
    inner = root.add_subparsers()
    parts = class_parts()
    for name, command in commands().items():
        parser = inner.add_parser(name, help=command.summary)
        add_options(parser, command.parsers, parts)
        if command.actions:
            actions = parser.add_subparsers()
            for action, its_parser in command.actions.items():
                text = first_sentence(its_parser)
                add_options(actions.add_parser(action, help=text), [its_parser], parts)
    return root


def commands() -> dict[str, Command]:
    """Return all commands of the program."""
    return {**other_commands(), "completion": Command(SUMMARY, [build_parser()])}
