"""Parsers whose errors teach: one sentence, with the nearest valid names, and exit code 2."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from jsonargparse import ArgumentParser

from brainmvp_lightning.commands.parsing_files import (
    ConfigError,
    Written,
    plain,
    read_config,
    read_text,
)
from brainmvp_lightning.commands.parsing_messages import (
    Scene,
    is_config,
    options_of,
    translate,
)
from brainmvp_lightning.registry import Registry

FLAGS = ("-h", "--help", "--print_config")
"""Options without a value."""

_NEGATIVE = re.compile(r"-\.?\d")


class TeachingParser(ArgumentParser):
    """Parser that ends a wrong call with one sentence and hints."""

    registries: tuple[Registry[Any], ...] = ()
    classes: tuple[type, ...] = ()
    """Classes that may be named beside the registered ones."""
    homes: tuple[tuple[str, type], ...] = ()
    """Full paths of options whose classes are known beforehand, for hints."""
    program: str | None = None
    """What errors call the command, if not by the name of the parser."""
    # Shared with the parsers of subcommands, which are other objects and see a part of the words.
    argv: ClassVar[list[str]] = []
    written: ClassVar[list[Written]] = []
    is_parsing: ClassVar[bool] = False
    # Classes inside classes get parsers of their own, which know neither names nor the command.
    outermost: ClassVar[TeachingParser | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed through
        # Parsers of classes inside classes are made from this class with its defaults: without
        # this line a misspelt ``--model.optimizer.learning_rat`` would be taken for the option.
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Any = None, *more: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Parse, and remember what the user wrote."""
        if not self.exit_on_error or TeachingParser.is_parsing:  # of a subcommand or a class inside
            return super().parse_args(args, *more, **kwargs)
        TeachingParser.is_parsing = True
        try:
            self._remember(args)
            return super().parse_args(args, *more, **kwargs)
        finally:
            TeachingParser.is_parsing = False

    def _remember(self, args: Any) -> None:  # noqa: ANN401 - jsonargparse's
        TeachingParser.argv[:] = sys.argv[1:] if args is None else [str(word) for word in args]
        TeachingParser.outermost = self
        try:
            TeachingParser.written[:] = what_is_written(TeachingParser.argv)
            self.check_written(TeachingParser.written)
        except ConfigError as fault:
            self.stop(str(fault))

    def check_written(self, written: Sequence[Written]) -> None:
        """Look at what the user wrote before it is parsed.

        Raises:
            ConfigError: If it cannot be meant.
        """

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Write one sentence for the message and exit with code 2."""
        del ex  # the message has its words already
        outermost = TeachingParser.outermost or self
        outermost.stop(self._sentence(message, outermost))

    def _sentence(self, message: str, outermost: TeachingParser) -> str:
        command = outermost._command_parser()
        scene = Scene(
            options=_options(self),
            outer=_options(command),
            written=TeachingParser.written,
            argv=TeachingParser.argv,
            registries=outermost.registries,
            classes=outermost.classes,
            homes=options_of(outermost.homes),
        )
        return translate(message, scene) or condense(message)

    def _command_parser(self) -> TeachingParser:
        """Return the parser of the command that was called, which may be a part of this one."""
        subcommands = getattr(self, "_subcommands_action", None)
        known = subcommands.choices if subcommands is not None else {}
        called = next((word for word in TeachingParser.argv if word in known), None)
        found: TeachingParser = self if called is None else known[called]
        return found

    def stop(self, text: str) -> NoReturn:
        """Say what is wrong with a call, and exit with code 2."""
        prog = self.program or self._command_parser().prog.replace(" [options]", "")
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
    parser = TeachingParser(prog=prog, description=description)
    parser.registries = registries
    parser.add_argument("--config", action="config", help="YAML file with the options below")
    return parser


def what_is_written(argv: Sequence[str]) -> list[Written]:
    """Return the options of a command line with those of its files, in order.

    Raises:
        ConfigError: If a file cannot be used.
    """
    found: list[Written] = []
    for name, value in _pairs(argv):
        if name in ("-c", "--config"):
            is_text = value.lstrip().startswith("{")
            found += read_text(value, "") if is_text else read_config(Path(value))
        elif name.startswith("--"):
            found.append(Written(plain(name.lstrip("-").rstrip("+")), value))
    return found


def positional_configs(words: Sequence[str]) -> list[str]:
    """Return words in which each file that stands alone is given to ``--config``."""
    result: list[str] = []
    for word in words:
        follows = bool(result) and takes_value(result[-1])
        if not follows and not word.startswith("-") and is_config(word):
            result.append("--config")
        result.append(word)
    return result


def takes_value(word: str) -> bool:
    """Tell whether the next word is the value of this one; a negative number is no option."""
    is_option = word.startswith("-") and not _NEGATIVE.match(word)
    return is_option and "=" not in word and word not in FLAGS and not _is_short_config(word)


def _is_short_config(word: str) -> bool:
    """Tell whether a word is ``-c`` with its file in one."""
    return word.startswith("-c") and word != "-c"


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield options with their values; the value is empty if there is none."""
    for word, after in zip(argv, [*argv, ""][1:], strict=True):
        name, equals, value = word.partition("=")
        if _is_short_config(word):
            yield "-c", word[2:].removeprefix("=")
        elif equals:
            yield name, value
        elif word.startswith("-") and after and not after.startswith("--"):
            yield word, after


def inner_reason(message: str) -> str:
    """Return why a class could not be built, without the parser's list of what else it tried."""
    text = " ".join(message.split())
    found = re.search(r"Errors: - (.+?) - Expected a <class 'NoneType'>", text)
    return found[1] if found else text


def condense(message: str) -> str:
    """Put a message of several lines on one, without the parser's inner words."""
    text = re.sub(r"<class '([\w.]+)'>", r"\1", " ".join(message.split()))
    text = re.sub(r"\btyping\.", "", text).replace('Parser key "', 'option "')
    return text if len(text) < 600 else text[:600] + " ..."


def _options(parser: ArgumentParser) -> dict[str, Any]:
    """Return the type of each option of a parser, by its path."""
    hidden = ("help", "print_shtab", "print_completion", "subcommand")
    actions = [a for a in parser._actions if not str(a.dest).endswith(".help")]
    return {
        plain(str(action.dest)): getattr(action, "_typehint", None) or action.type
        for action in actions
        if action.dest not in hidden
    }
