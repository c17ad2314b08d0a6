"""Trials of a sweep, in a file that is complete at any moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.volumes.atomic import write_bytes

TRIALS_FILE = "sweep.json"
FORMAT = 1

RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


class ChangedSweepError(RuntimeError):
    """A folder holds trials of another sweep."""


@dataclass
class Trial:
    """One training.

    Attributes:
        number: From 0, in the order of their start.
        values: By dotted name.
        places: Where in the unit interval a search drew each value; empty for a grid.
        state: ``running``, ``finished``, ``stopped`` early or ``failed``.
        history: The metric at each validation.
        seconds: Time it has run.
        reason: Why it failed.
    """

    number: int
    values: dict[str, Any]
    places: dict[str, float] = field(default_factory=dict)
    state: str = RUNNING
    history: list[float] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""

    @property
    def name(self) -> str:
        """That of its folder."""
        return f"trial_{self.number:04d}"

    @property
    def metric(self) -> float | None:
        """The last value, which is also what wandb goes by; None without one."""
        return self.history[-1] if self.history and self.state in (FINISHED, STOPPED) else None


class Trials:
    """All trials of a sweep.

    Args:
        folder: That of the sweep.
        sweep: What it is.
        seed: Fixes what is drawn.
    """

    def __init__(self, folder: Path, sweep: Sweep, seed: int) -> None:
        self.path = folder / TRIALS_FILE
        self._description = describe(sweep, seed)
        self.items: list[Trial] = self._read()

    def save(self) -> None:
        """Write all, so that a kill at any moment loses none."""
        content = {
            "format": FORMAT,
            "sweep": self._description,
            "trials": [asdict(trial) for trial in self.items],
        }
        write_bytes(self.path, json.dumps(content, indent=1).encode())

    def _read(self) -> list[Trial]:
        try:
            noted = json.loads(self.path.read_text(encoding="utf-8"))
            names = {one.name for one in fields(Trial)}
            trials = [
                Trial(**{key: value for key, value in one.items() if key in names})
                for one in noted["trials"]
            ]
            before = noted["sweep"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ChangedSweepError(
                f"{self.path} is damaged; choose another folder with --runs"
            ) from error
        self._refuse_changes(before)
        return trials

    def _refuse_changes(self, before: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(self._description))
        changed = [key for key in now if now[key] != before.get(key)]
        if changed:
            raise ChangedSweepError(
                f"{self.path.parent} holds trials of a sweep with other {' and '.join(changed)}; "
                "choose another folder with --runs"
            )


def describe(sweep: Sweep, seed: int) -> dict[str, Any]:
    """Return what makes trials comparable, as plain values."""
    return {
        "method": sweep.method,
        "metric": asdict(sweep.metric),
        "parameters": [asdict(parameter) for parameter in sweep.parameters],
        "command": list(sweep.command),
        "seed": seed,
    }


def rank(trials: Sequence[Trial], *, is_higher_better: bool) -> list[Trial]:
    """Return trials from best to worst: finished, then stopped early, then the others."""
    sign = -1.0 if is_higher_better else 1.0
    order = {FINISHED: 0, STOPPED: 1, RUNNING: 2, FAILED: 3}
    return sorted(
        trials,
        key=lambda one: (
            order[one.state],
            sign * one.metric if one.metric is not None else 0.0,
            one.number,
        ),
    )
