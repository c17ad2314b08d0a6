"""What is noted in the folder of each cell: which run it is, and what of it is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from brainmvp_lightning.experiments.cells import Cell, Step, describe, differences, fingerprint
from brainmvp_lightning.volumes.atomic import write_bytes

MARKER_FILE = "cell.json"
REPLACED = "replaced"


class ChangedPlanError(RuntimeError):
    """Folders hold runs of another plan."""


@dataclass(frozen=True)
class Marker:
    """The state of a cell.

    Attributes:
        description: What the run is; see `cells.describe`.
        fingerprint: Its hash.
        done: Names of the steps that have succeeded.
    """

    description: Mapping[str, Any]
    fingerprint: str
    done: tuple[str, ...] = ()


def read_marker(cell: Cell) -> Marker | None:
    """Return what is noted, None if nothing is.

    Raises:
        ChangedPlanError: If the note cannot be read.
    """
    path = cell.folder / MARKER_FILE
    try:
        noted = json.loads(path.read_text())
        return Marker(noted["description"], noted["fingerprint"], tuple(noted["done"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ChangedPlanError(
            f"{path} is damaged; delete the folder {cell.folder} to do it anew"
        ) from error


def write_marker(cell: Cell, marker: Marker) -> None:
    """Note the state of a cell, atomically."""
    write_bytes(cell.folder / MARKER_FILE, json.dumps(asdict(marker), indent=1).encode())


def steps_left(cell: Cell, marker: Marker | None) -> tuple[Step, ...]:
    """Return the steps that are still to be done.

    A finished cell may lose its checkpoints, not its result.
    """
    done = marker.done if marker is not None else ()
    last = cell.steps[-1]
    if last.name in done and last.leaves.exists():
        return ()
    for number, step in enumerate(cell.steps):
        if step.name not in done or not step.leaves.exists():
            return cell.steps[number:]
    return ()


@dataclass(frozen=True)
class Standing:
    """How a plan and the folders of its cells agree.

    Attributes:
        descriptions: What each cell is, by name; as noted where the plan has not changed.
        changed: What differs, for each cell whose folder holds another run.
    """

    descriptions: Mapping[str, Mapping[str, Any]]
    changed: Mapping[str, list[str]]


def compare(cells: Iterable[Cell]) -> Standing:
    """Compare the cells with what is noted in their folders; those that others need come first.

    Raises:
        ChangedPlanError: If a note cannot be read.
        OSError: If an input cannot be read.
    """
    cells = tuple(cells)
    planned, noted = describe(cells), {cell.name: read_marker(cell) for cell in cells}
    descriptions: dict[str, Mapping[str, Any]] = {}
    changed: dict[str, list[str]] = {}
    for cell in cells:
        after = {name: fingerprint(descriptions[name]) for name in cell.needs}
        new: Mapping[str, Any] = {**planned[cell.name], "after": after}
        marker = noted[cell.name]
        texts: list[str] = []
        if marker is not None:
            texts = differences(marker.description, new)
        elif (cell.folder / "checkpoints").exists():
            texts = [f"{cell.folder} holds a run of which nothing is noted"]
        if texts:
            changed[cell.name] = texts
        is_noted = marker is not None and not texts
        descriptions[cell.name] = marker.description if marker and is_noted else new
    return Standing(descriptions, changed)


def left_out(cells: Iterable[Cell], standing: Standing) -> dict[str, str]:
    """Return for each cell whose scores are not those of the plan why.

    A cell counts if its plan is as noted and its last step has succeeded.
    """
    reasons: dict[str, str] = {}
    for cell in cells:
        marker = read_marker(cell)
        last = cell.steps[-1].name
        if cell.name in standing.changed:
            reasons[cell.name] = (
                f"made by another plan: {'; '.join(standing.changed[cell.name][:3])}"
            )
        elif marker is None:
            reasons[cell.name] = "not begun"
        elif last not in marker.done:
            reasons[cell.name] = f"its {last} is not done"
    return reasons


def refuse_changes(found: Mapping[str, list[str]]) -> None:
    """Name the first cells whose plan has changed.

    Raises:
        ChangedPlanError: If there are any.
    """
    if not found:
        return
    shown = [f"  {name}: {'; '.join(texts[:3])}" for name, texts in list(found.items())[:3]]
    more = f"\n  and {len(found) - 3} more" if len(found) > 3 else ""
    raise ChangedPlanError(
        f"{len(found)} of the runs are there already, made by another plan:\n"
        + "\n".join(shown)
        + f"{more}\nchoose another folder with --runs, or do them anew with --rerun true "
        f"(the old ones move to {REPLACED}/)"
    )


def move_away(cell: Cell) -> None:
    """Keep the files of another run, out of the way."""
    number = 0
    root = cell.folder.parents[len(cell.name.split("/")) - 1]
    while (target := root / REPLACED / f"{cell.name}.{number}").exists():
        number += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    cell.folder.rename(target)
