"""The commands of the program with the parsers of their words, for completion."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType

from jsonargparse import capture_parser

from brainmvp_lightning.commands import (
    components,
    demo,
    doctor,
    experiment,
    explain,
    plan,
    prepare,
    report,
    schema,
    segment,
    sweep,
    weights,
)
from brainmvp_lightning.commands.schema_documents import trainer_parsers

_WEIGHTS = ("inspect", "import", "export")


@dataclass(frozen=True)
class Command:
    """What can follow a command.

    Attributes:
        summary: One line.
        parsers: Their options and positional words together.
        actions: Words of which one comes first, each with the parser of what follows it.
    """

    summary: str
    parsers: list[argparse.ArgumentParser] = field(default_factory=list)
    actions: dict[str, argparse.ArgumentParser] = field(default_factory=dict)


def other_commands() -> dict[str, Command]:
    """Return all commands but the one that writes the scripts."""
    training = trainer_parsers()
    fit = training["fit"]
    return {
        "prepare": _one(prepare),
        "doctor": _one(doctor),
        "plan": Command(_summary(plan), [plan._parser(), fit]),
        "explain": Command(_summary(explain), [_explain_parser(), fit]),
        **{name: Command(first_sentence(parser), [parser]) for name, parser in training.items()},
        "segment": _one(segment),
        "experiment": _several(experiment, experiment.STUDIES),
        "report": _one(report),
        "schema": _one(schema),
        "sweep": _several(sweep, sweep.ACTIONS),
        "list": Command(_summary(components), [_list_parser()]),
        "weights": _several(weights, _WEIGHTS),
        "demo": _one(demo),
    }


def first_sentence(parser: argparse.ArgumentParser) -> str:
    """Return what a parser says of itself first."""
    return (parser.description or "").partition(". ")[0]


def _one(module: ModuleType) -> Command:
    return Command(_summary(module), [_parser_of(module, [])])


def _several(module: ModuleType, actions: Iterable[str]) -> Command:
    parsers = {action: _parser_of(module, [action]) for action in actions}
    return Command(_summary(module), actions=parsers)


def _parser_of(module: ModuleType, words: list[str]) -> argparse.ArgumentParser:
    """Return the parser that a command makes; it goes no further."""
    return capture_parser(module.main, words)


def _summary(module: ModuleType) -> str:
    """Return what a module says of its command."""
    return (module.__doc__ or "").partition("\n")[0].partition(": ")[2]


def _explain_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="facts as JSON")
    parser.add_argument(
        "files", nargs="*", help="configurations, or the folder or checkpoint of a run"
    )
    return parser


def _list_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", nargs="?", choices=list(components.KINDS))
    parser.add_argument(components.PLUGINS, action="store_true", help="only parts of others")
    return parser
