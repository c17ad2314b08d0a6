"""Which volumes of a diffusion series make one image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from brainmvp_lightning.adapters.bids_names import BidsName, parse_name

DiffusionRule = Literal["trace", "b0", "refuse"]

MIN_SHELL = 500.0
TYPICAL_SHELL = 1000.0
B0_LIMIT = 50.0
SHELL_WIDTH = 50.0  # scanners write 995 or 1005 for 1000

_ADVICE = "put its .bval file next to it, or give one 3-D image such as the trace"


class DiffusionError(ValueError):
    """A series that cannot be reduced to one image.

    Args:
        reason: What is wrong.
        remedy: What the user can do.
    """

    def __init__(self, reason: str, remedy: str = _ADVICE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def choose_volumes(
    name: BidsName, num_volumes: int, rule: DiffusionRule, root: Path
) -> tuple[int, ...]:
    """Return the volumes of a series whose mean is its trace image or its b = 0 image.

    Args:
        name: The series.
        num_volumes: How many volumes it holds.
        rule: ``trace``: the shell nearest to b = 1000 s/mm2 of those of at least 500; ``b0``: all
            volumes of at most 50; ``refuse``: none.
        root: Folder of the data set, where inherited files may lie.

    Raises:
        DiffusionError: If there are no such volumes, or no b-values that fit.
    """
    if rule == "refuse":
        raise DiffusionError(f"it holds {num_volumes} volumes, and 'dwi_4d' is 'refuse'")
    table = find_bval(name, root)
    if table is None:
        raise DiffusionError(f"it holds {num_volumes} volumes and has no .bval file")
    values = _read(table)
    if len(values) != num_volumes:
        raise DiffusionError(
            f"it holds {num_volumes} volumes, but {table.name} has {len(values)} b-values",
            "correct the .bval file, or give one 3-D image such as the trace",
        )
    if rule == "b0":
        wanted = [value for value in values if value <= B0_LIMIT]
    else:
        shells = [value for value in values if value >= MIN_SHELL]
        shell = min(shells, key=lambda value: (abs(value - TYPICAL_SHELL), -value), default=0.0)
        wanted = [value for value in shells if abs(value - shell) <= SHELL_WIDTH]
    if not wanted:
        limit = f"at most {B0_LIMIT:.0f}" if rule == "b0" else f"at least {MIN_SHELL:.0f}"
        highest = f"its b-values are {min(values):.0f} to {max(values):.0f}"
        raise DiffusionError(f"{highest}, none is {limit}", "change 'dwi_4d', or leave it out")
    return tuple(place for place, value in enumerate(values) if value in wanted)


def find_bval(name: BidsName, root: Path) -> Path | None:
    """Return the ``.bval`` file of a series: next to it, or inherited from a folder above.

    A file is inherited if its suffix is the same and the series has all of its entities; the
    nearest folder counts, then the file with the most entities.
    """
    for folder in (name.path.parent, *name.path.parent.parents):
        candidates = [parse_name(path, root) for path in sorted(folder.glob("*.bval"))]
        fitting = [bval for bval in candidates if _applies(bval, name)]
        if fitting:
            return max(fitting, key=lambda bval: len(bval.entities)).path
        if folder == root:
            return None
    return None


def _applies(bval: BidsName, name: BidsName) -> bool:
    return bval.suffix.casefold() == name.suffix.casefold() and all(
        name.entities.get(key) == value for key, value in bval.entities.items()
    )


def _read(table: Path) -> list[float]:
    try:
        return [float(value) for value in table.read_text().replace(",", " ").split()]
    except (OSError, ValueError) as error:
        remedy = "correct it, or give one 3-D image such as the trace"
        raise DiffusionError(f"its b-values in {table.name} are not numbers", remedy) from error
