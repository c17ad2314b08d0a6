"""Reads the command of a sweep's trial with the parser of ``fit``, without running it."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from brainmvp_lightning.commands.trainer import BrainMVPCLI
from brainmvp_lightning.commands.trainer_checks import check_machine
from brainmvp_lightning.registry.modules import PluginError, naming_plugins
from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.sweeps.macros import expand, write_values

_INLINE = Path("values.json")


def read_trial(sweep: Sweep, values: Mapping[str, Any]) -> tuple[Namespace | None, str]:
    """Return the configuration of a trial, or why there is none."""
    words = trial_words(sweep, values)
    try:
        with naming_plugins(_imports(words)):
            return reader().read(words[words.index("fit") :])
    except PluginError as error:
        return None, str(error)


def check_here(config: Namespace) -> None:
    """See that this machine has what a trial asks for.

    Raises:
        ValueError: If it has not.
    """
    check_machine(config)


def trial_words(sweep: Sweep, values: Mapping[str, Any]) -> list[str]:
    """Return the words of a trial, its values in place of a file of them."""
    words = expand(sweep.command, sweep.program, values, _INLINE, os.environ)
    return [write_values(values) if word == str(_INLINE) else word for word in words]


def _imports(words: Sequence[str]) -> list[str]:
    """Return the modules that come with ``--import`` before the command."""
    before = [part for word in words[: words.index("fit")] for part in word.split("=", 1)]
    return [after for word, after in itertools.pairwise(before) if word == "--import"]


class FitReader(BrainMVPCLI):
    """Reads words as ``brainmvp fit`` does, and does nothing with them."""

    def __init__(self) -> None:
        self._is_ready = False
        with _quiet():
            super().__init__(["fit"])
        self._is_ready = True
        self._known: dict[tuple[object, ...], tuple[Namespace | None, str]] = {}

    def parse_arguments(self, parser: Any, args: Any) -> None:  # noqa: ANN401 - as in the parent
        """Parse nothing while this is built."""
        if self._is_ready:
            super().parse_arguments(parser, args)
        else:
            fit = Namespace(seed_everything=False)  # type: ignore[no-untyped-call]
            self.config = Namespace(subcommand="fit", fit=fit)  # type: ignore[no-untyped-call]

    def check_here(self, options: Any) -> None:  # noqa: ANN401 - options of a command
        """Ask nothing of this machine; trials may run on another."""

    def before_instantiate_classes(self) -> None:
        """Leave everything as it is."""

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""

    def read(self, words: Sequence[str]) -> tuple[Namespace | None, str]:
        """Return the configuration of a call, or why there is none.

        A call is parsed once, as long as its files stay as they are.
        """
        key = (*words, *(Path(word).stat().st_mtime_ns for word in words if _is_file(word)))
        if key not in self._known:
            self._known[key] = self._parse(words)
        config, reason = self._known[key]
        return (None if config is None else config.clone()), reason

    def _parse(self, words: Sequence[str]) -> tuple[Namespace | None, str]:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), _quiet():
                self.parse_arguments(self.parser, list(words))
        except SystemExit:
            text = said.getvalue().partition("error: ")[2] or said.getvalue()
            return None, " ".join(text.partition("\n(see ")[0].split())
        fit: Namespace = self.config.fit
        return fit, ""


def _is_file(word: str) -> bool:
    return not word.startswith(("{", "-")) and Path(word).is_file()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of methods that Lightning calls by the names that jsonargparse gave up."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "(?s).*(JsonargparseDeprecationWarning|deprecated in v4).*"
        )
        yield


@functools.cache
def reader() -> FitReader:
    """Return the reader, which takes a moment to build."""
    return FitReader()
