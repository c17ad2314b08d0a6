"""``brainmvp explain``: what a configuration will do, without doing it."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser

from brainmvp_lightning.commands.explain_facts import all_facts
from brainmvp_lightning.commands.explain_text import render
from brainmvp_lightning.commands.parsing import inner_reason, takes_value
from brainmvp_lightning.commands.plan_inputs import build_parts
from brainmvp_lightning.commands.trainer import BrainMVPCLI
from brainmvp_lightning.commands.trainer_checks import check_machine
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.reading import is_intact

SUMMARY = "what a configuration will do, and where it departs from the paper"
CONFIG_OPTIONS = ("-c", "--config")
HELP = f"""usage: brainmvp explain CONFIG... [options of brainmvp fit] [--json]

{SUMMARY}

Takes what brainmvp fit takes: files, alone or after -c, and options with dots, the later ones on
top. In the place of a file also the folder of a run or one of its checkpoints. Trains nothing.

  --json    the same as JSON
"""


class ExplainCLI(BrainMVPCLI):
    """Reads a configuration as ``fit`` does, and leaves it at that."""

    def __init__(self, words: list[str]) -> None:
        super().__init__(["fit", *words])

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:  # noqa: ANN401
        """Return the parser of ``fit``, whose errors name this command."""
        parser: Any = super().init_parser(**kwargs)
        parser.program = "brainmvp explain"
        made: LightningArgumentParser = parser
        return made

    def check_here(self, options: Any) -> None:  # noqa: ANN401 - options of a command
        """Ask nothing of this machine."""

    def _set_seed(self) -> None:
        """Leave the process alone."""

    def instantiate_classes(self) -> None:
        """Build nothing yet."""

    def _add_instantiators(self) -> None:
        """Leave what builds classes alone; it is used several times here."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Train nothing."""

    @property
    def options(self) -> Any:  # noqa: ANN401 - jsonargparse's
        """The resolved options of ``fit``."""
        return self.config["fit"]

    def build(self) -> tuple[Task, Any]:
        """Return a new task and its data module."""
        return build_parts(self._parser("fit"), self.options)


def main(argv: list[str]) -> int:
    """Run the command; return 0, or 2 if the configuration is wrong."""
    if "-h" in argv or "--help" in argv:
        sys.stdout.write(HELP)
        return 0
    warnings.filterwarnings("ignore", "(?s).*(JsonargparseDeprecationWarning|deprecated in v4).*")
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    try:
        words = configurations([word for word in argv if word != "--json"])
        cli = ExplainCLI(words)
        with _without_reports():
            facts = all_facts(cli.options, cli.build, machine_fault(cli.options))
    except (ValueError, TypeError, OSError, CacheError, WeightsError) as error:
        sys.stderr.write(f"brainmvp explain: error: {inner_reason(str(error))}\n")
        return 2
    if "--json" in argv:
        sys.stdout.write(json.dumps(facts, indent=2, default=str) + "\n")
    else:
        sys.stdout.write(render(facts))
    return 0


@contextlib.contextmanager
def _without_reports() -> Iterator[None]:
    """Keep back what parts say when they are built, such as what became of each weight."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def configurations(words: list[str]) -> list[str]:
    """Return a command line in which folders and checkpoints of runs are configurations.

    Raises:
        ValueError: If there is no configuration in one.
    """
    found: list[str] = []
    option = ""  # whose value comes next
    for word in words:
        path = Path(word)
        is_run = path.is_dir() or path.suffix == ".ckpt"
        if option in ("", *CONFIG_OPTIONS) and is_run and not word.startswith("-"):
            found += [*([] if option else ["--config"]), _of_run(path)]
        else:
            found.append(word)
        option = word if takes_value(word) else ""
    return found


def _of_run(path: Path) -> str:
    """Return the configuration of a run, as a file or as text."""
    if path.is_dir():
        if not (path / "config.yaml").is_file():
            raise ValueError(f"{path} is no folder of a run (it has no config.yaml)")
        return str(path / "config.yaml")
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    beside = path.parent.parent / "config.yaml"
    if not is_intact(path):
        raise ValueError(f"{path} is damaged or no checkpoint")
    configuration = _stored(path)
    if configuration is not None:
        text: str = yaml.safe_dump(configuration, default_flow_style=True, width=sys.maxsize)
        return text.strip()
    if beside.is_file():
        return str(beside)
    raise ValueError(f"{path} holds no configuration, and there is no {beside}")


def _stored(path: Path) -> dict[str, Any] | None:
    """Return the configuration inside a checkpoint, if it has one."""
    content = torch.load(path, map_location="meta", weights_only=True, mmap=True)
    stored = content.get("configuration") if isinstance(content, dict) else None
    return stored if isinstance(stored, dict) else None


def machine_fault(options: Any) -> str:  # noqa: ANN401 - options of a command
    """Return why this machine cannot run a configuration; empty if it can."""
    try:
        check_machine(options)
    except ValueError as error:
        return str(error)
    return ""
