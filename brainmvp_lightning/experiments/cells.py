"""What an experiment consists of: cells, each one run with its exact command lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainmvp_lightning.experiments.contents import content_of
from brainmvp_lightning.experiments.overrides import Tree, flatten

OVERRIDES_FILE = "overrides.yaml"
LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
BEST_CHECKPOINT = Path("checkpoints") / "best.ckpt"
CASES_FILE = Path("test") / "cases.csv"
_NO_PART = (
    "trainer.accelerator",
    "data.num_workers",
    "data.prefetch_factor",
    "data.prefetch_to_device",
)
_BEST = "BestCheckpoint"


@dataclass(frozen=True)
class Step:
    """One command of a cell.

    Attributes:
        name: Names the log, such as ``"fit"``.
        words: Command line after the program's name.
        leaves: File that is there when it has succeeded.
        can_resume: Whether ``--ckpt_path last`` makes it go on from the last checkpoint.
    """

    name: str
    words: tuple[str, ...]
    leaves: Path
    can_resume: bool = False


@dataclass(frozen=True)
class Cell:
    """One run: a training, and what follows it.

    Attributes:
        name: Its folder, relative to that of the experiment.
        folder: Its folder.
        steps: Commands, in order.
        config: The training's configuration as it is in its file.
        overrides: What is changed in it.
        inputs: Files and folders that the run reads; other content makes it another run.
        needs: Names of cells that come first.
    """

    name: str
    folder: Path
    steps: tuple[Step, ...]
    config: Tree = field(repr=False)
    overrides: Tree
    inputs: tuple[Path, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a fine-tuning stands in the table of an experiment.

    Attributes:
        arm: How the network was pre-trained.
        fraction: Share of the training patients.
        seed: Seed of the run.
        cell: Name of its cell.
        folder: Folder of its cell.
    """

    arm: str
    fraction: float
    seed: int
    cell: str
    folder: Path

    @property
    def cases(self) -> Path:
        """The table of scores that the test leaves."""
        return self.folder / CASES_FILE


def train_step(config: Path, folder: Path, leaves: Path) -> Step:
    """Return the training of a cell, which leaves a file in its folder."""
    files = ("--config", str(config), "--config", str(folder / OVERRIDES_FILE))
    words = ("fit", *files, "--trainer.default_root_dir", str(folder))
    return Step("fit", words, folder / leaves, can_resume=True)


def test_step(folder: Path, checkpoint: Path) -> Step:
    """Return the test of a cell, with the configuration and a checkpoint of its training."""
    config, weights = str(folder / "config.yaml"), str(folder / checkpoint)
    words = ("test", "--config", config, "--ckpt_path", weights)
    return Step("test", words, folder / CASES_FILE)


def checkpoint_to_test(config: Tree) -> Path:
    """Return the checkpoint that a run is tested with: the best one, if it validates and keeps it.

    Args:
        config: Of the run, with its overrides.
    """
    trainer = config.get("trainer") or {}
    callbacks = trainer.get("callbacks") or []
    listed = callbacks if isinstance(callbacks, list) else [callbacks]
    names = [one.get("class_path") if isinstance(one, dict) else one for one in listed]
    keeps_best = any(str(name).rpartition(".")[2] == _BEST for name in names)
    validates = trainer.get("limit_val_batches") != 0
    return BEST_CHECKPOINT if keeps_best and validates else LAST_CHECKPOINT


def describe(cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
    """Return for each cell what makes it this run and no other, as JSON.

    The number of jobs, threads and data workers and the kind of accelerator are no part of it. The
    number of devices is, for several multiply the batch.

    Raises:
        OSError: If an input cannot be read.
    """
    digests: dict[Path, str] = {}
    described: dict[str, dict[str, Any]] = {}
    for cell in cells:  # those that are needed come first
        for path in cell.inputs:
            if path not in digests:
                digests[path] = content_of(path)
        described[cell.name] = {
            "commands": {step.name: " ".join(step.words) for step in cell.steps},
            "config": cell.config,
            "overrides": cell.overrides,
            "inputs": {str(path): digests[path] for path in cell.inputs},
            "after": {name: fingerprint(described[name]) for name in cell.needs},
        }
    return described


def fingerprint(description: Mapping[str, Any]) -> str:
    """Return a hash of a description; the order of options does not matter."""
    text = json.dumps(description, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return sentences about what differs between two descriptions of a cell; none if nothing.

    Inputs are compared where both know their content: options name them, so that others show there.
    """
    before, after = _leaves(old), _leaves(new)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    texts = [
        f"{name.partition('.')[2]} was {_show(before, name)}, is {_show(after, name)}"
        for name in names
    ]
    known: Mapping[str, Any] = old.get("inputs", {})
    texts += [
        f"the content of {path} has changed"
        for path, content in new["inputs"].items()
        if known.get(path, content) != content
    ]
    made: Mapping[str, Any] = old.get("after", {})
    return texts + [
        f"{name} was made anew" for name, one in new["after"].items() if made.get(name) != one
    ]


def _leaves(description: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in description.items() if key not in ("inputs", "after")}
    plain = json.loads(json.dumps(told, default=str))
    return {
        name: value
        for name, value in flatten(plain)
        if value != {} and name.partition(".")[2].replace("init_args.", "") not in _NO_PART
    }


def _show(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "not given"
