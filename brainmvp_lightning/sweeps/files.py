"""Sweep files: read, with all that is wrong in their form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brainmvp_lightning.sweeps.bands import Bands, read_bands
from brainmvp_lightning.sweeps.checks import (
    check_command,
    check_grid,
    check_top,
    read_metric,
)
from brainmvp_lightning.sweeps.parameter_blocks import read_parameters
from brainmvp_lightning.sweeps.parameters import Parameter


@dataclass(frozen=True)
class Metric:
    """What decides between trials.

    Attributes:
        name: As it is logged, such as ``val/dice``.
        goal: ``maximize`` or ``minimize``.
    """

    name: str
    goal: str

    @property
    def is_higher_better(self) -> bool:
        """Whether the highest is best."""
        return self.goal == "maximize"


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        path: Where it lies.
        method: ``grid``, ``random`` or ``bayes``.
        metric: What decides.
        parameters: In the order of the file.
        program: What ``${program}`` stands for.
        command: Items, with macros.
        bands: When trials that are behind are stopped; None never.
        run_cap: Most trials there may be; None for any number.
        title: Its name, for folders.
    """

    path: Path
    method: str
    metric: Metric
    parameters: tuple[Parameter, ...]
    program: str
    command: tuple[Any, ...]
    bands: Bands | None
    run_cap: int | None
    title: str


class SweepError(ValueError):
    """A sweep file is wrong; `faults` has a sentence for each reason."""

    def __init__(self, path: Path, faults: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {fault}" for fault in faults))
        self.faults = faults


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        SweepError: With all that is wrong in its form.
    """
    tree = _load(path)
    faults = check_top(tree)
    metric = read_metric(tree, faults)
    parameters = read_parameters(tree, faults)
    check_grid(tree.get("method"), parameters, faults)
    check_command(tree, parameters, faults)
    bands = read_bands(tree.get("early_terminate"), faults)
    if faults:
        raise SweepError(path, faults)
    return Sweep(
        path,
        tree["method"],
        Metric(*metric),
        tuple(parameters),
        str(tree["program"]),
        tuple(tree["command"]),
        bands,
        tree.get("run_cap"),
        re.sub(r"[^A-Za-z0-9._-]+", "_", str(tree.get("name") or path.stem)),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        others = sorted(str(other) for other in path.parent.glob("*.yaml"))
        hint = f" (there are {', '.join(others)})" if others else ""
        raise SweepError(path, [f"there is no such file{hint}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        reason = " ".join(str(error).split())
        raise SweepError(path, [f"this is no YAML file ({reason})"]) from error
    if not isinstance(tree, dict):
        raise SweepError(path, ["this holds no options; a sweep has method, metric, parameters"])
    return {str(key): value for key, value in tree.items()}
