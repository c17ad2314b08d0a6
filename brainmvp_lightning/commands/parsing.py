"""Parsers whose errors teach: one sentence, with the nearest valid names, and exit code 2."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml
from jsonargparse import ArgumentParser

from brainmvp_lightning.registry import Registry

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TeachingParser(ArgumentParser):
    """Parser that ends a wrong call with one sentence and hints; see `explain`."""

    registries: tuple[Registry[Any], ...] = ()
    classes: tuple[type, ...] = ()
    """Classes that may be named beside the registered ones."""
    # Shared with the parsers of subcommands, which are other objects and see a part of the words.
    argv: ClassVar[list[str]] = []
    # Classes inside classes get parsers of their own, which know neither names nor the command.
    outermost: ClassVar[TeachingParser | None] = None

    def parse_args(self, args: Any = None, *more: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Parse, and remember what the user wrote."""
        TeachingParser.argv[:] = sys.argv[1:] if args is None else [str(word) for word in args]
        TeachingParser.outermost = self
        self._check_configs(TeachingParser.argv)
        return super().parse_args(args, *more, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Write the explained message and exit with code 2."""
        del ex  # the message has its words already
        outermost = TeachingParser.outermost
        if not self.registries and outermost is not None and outermost is not self:
            outermost.error(message)
        words = set(_user_words(TeachingParser.argv))
        names = {registry.kind: registry.names() for registry in self.registries}
        names["class"] = [cls.__name__ for cls in self.classes]
        options = {option for action in self._actions for option in _WORD.findall(action.dest)}
        for registry in self.registries:
            options.update(
                option for name in registry.names() for option in _options(registry.get(name))
            )
        for cls in self.classes:
            options.update(_options(cls))
        self._stop(explain(message, words, names, options))

    def _check_configs(self, argv: list[str]) -> None:
        for option, value in zip(argv, [*argv, ""][1:], strict=True):
            name, equals, attached = option.partition("=")
            text = attached if equals else value
            if name not in ("-c", "--config") or text.lstrip().startswith("{") or not text:
                continue
            if not Path(text).is_file():
                others = [str(path) for path in Path(text).parent.glob("*.yaml")]
                close = difflib.get_close_matches(text, others, 2)
                hint = f"; did you mean {_either(close)}?" if close else ""
                self._stop(f"there is no configuration file {text}{hint}")

    def _stop(self, text: str) -> NoReturn:
        prog = self.prog.replace(" [options]", "")
        sys.stderr.write(f"{prog}: error: {text}\n(see {prog} --help)\n")
        raise SystemExit(2)

    def instantiate_classes(self, cfg: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Build the parts of a configuration, under the method's old and its new name."""
        build = getattr(self, "instantiate", None) or super().instantiate_classes
        return build(cfg, **kwargs)


def make_parser(prog: str, description: str, *registries: Registry[Any]) -> TeachingParser:
    """Return a parser with a ``--config`` option.

    Args:
        prog: How the command is called, such as ``"brainmvp prepare"``.
        description: One sentence for the help.
        registries: Kinds of parts that the command's options may name; for hints.
    """
    parser = TeachingParser(prog=prog, description=description, allow_abbrev=False)
    parser.registries = registries
    parser.add_argument("--config", action="config", help="YAML file with the options below")
    return parser


def explain(
    message: str, words: set[str], names: Mapping[str, Iterable[str]], options: set[str]
) -> str:
    """Turn a parser's message into one sentence.

    The words that the message shares with what the user wrote, and that are no valid names, are
    taken for misspelt; so the hint does not depend on how the parser words its messages.

    Args:
        message: What the parser says.
        words: All words the user wrote, on the command line and in configuration files.
        names: Registered names for each kind.
        options: Names of all options.
    """
    valid = options.union(*(set(group) for group in names.values())) if names else options
    suspects = [word for word in dict.fromkeys(_WORD.findall(message)) if word in words - valid]
    for word in suspects:
        for kind, group in names.items():
            close = difflib.get_close_matches(word, group, n=2, cutoff=0.7)
            if close:
                listed = ", ".join(sorted(group))
                return f"unknown {kind} {word!r}; did you mean {_either(close)}? (known: {listed})"
    for word in suspects:
        close = difflib.get_close_matches(word, options, n=2, cutoff=0.7)
        if close and word not in options:
            return f"unknown option {word!r}; did you mean {_either(close)}?"
    return _condense(message)


def inner_reason(message: str) -> str:
    """Return why a class could not be built, without the parser's list of what else it tried."""
    text = " ".join(message.split())
    found = re.search(r"Errors: - (.+?) - Expected a <class 'NoneType'>", text)
    return found[1] if found else text


def _either(names: list[str]) -> str:
    return " or ".join(repr(name) for name in names)


def _condense(message: str) -> str:
    """Put a message of several lines on one, without the parser's inner words."""
    text = re.sub(r"<class '([\w.]+)'>", r"\1", " ".join(message.split()))
    text = re.sub(r"\btyping\.", "", text).replace('Parser key "', 'option "')
    return text if len(text) < 600 else text[:600] + " ..."


def _options(cls: type) -> Iterable[str]:
    return inspect.signature(cls).parameters


def _user_words(argv: list[str]) -> Iterator[str]:
    for argument in argv:
        yield from _WORD.findall(argument)
        path = Path(argument.partition("=")[2] if argument.startswith("--") else argument)
        if path.suffix in (".yaml", ".yml") and path.is_file():
            yield from _WORD.findall(_read(path))


def _read(path: Path) -> str:
    try:
        return yaml.safe_dump(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError):
        return ""
