"""Where in a run folder loggers write, and what they are told of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOGS = "logs"


@dataclass(frozen=True)
class RunPlace:
    """What all loggers of a run are told before it starts.

    Attributes:
        folder: Run folder.
        version: Number of this start in the folder; each start has a ``logs/version_<n>``.
        continues: Whether this start belongs to what ran in the folder before.
        configuration: Resolved configuration, which stands for the hyper-parameters of task and
            data; empty if this start has none to tell. None: loggers take the hyper-parameters.
    """

    folder: Path
    version: int
    continues: bool = False
    configuration: Mapping[str, Any] | None = None

    def facts(self, parameters: Any) -> Any:  # noqa: ANN401 - what Lightning hands to loggers
        """Return what a logger records of the configuration."""
        return parameters if self.configuration is None else self.configuration


class InRunFolder:
    """A logger that finds its place in the run folder by itself."""

    place: RunPlace | None = None

    def settle(self, place: RunPlace) -> None:
        """Take a place, before anything is written."""
        self.place = place

    def facts(self, parameters: Any) -> Any:  # noqa: ANN401 - what Lightning hands to loggers
        """Return what is recorded of the configuration: as the place says, or `parameters`."""
        return parameters if self.place is None else self.place.facts(parameters)


def next_version(folder: Path) -> int:
    """Return the number of the next start in a run folder."""
    names = [path.name.removeprefix("version_") for path in folder.glob(f"{LOGS}/version_*")]
    return 1 + max((int(name) for name in names if name.isdecimal()), default=-1)
