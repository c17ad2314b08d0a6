"""Plain CSV files whose floats round-trip, and whose damage is told with its line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from brainmvp_lightning.volumes.atomic import write_bytes

Row = TypeVar("Row")
Line = tuple[int, list[str]]

_REMEDY = "run the test again"


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table, complete or not at all, into a folder that is made if need be.

    NaN becomes an empty cell.

    Raises:
        OSError: If the file cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows([_cell(value) for value in row] for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.getvalue().encode())


def read_csv(path: Path) -> tuple[list[str], list[Line]]:
    """Return the columns, and the cells of each row with the number of its line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, cut off or no CSV.
    """
    try:
        text = path.read_text(encoding="utf-8")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, cells) for cells in reader]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no {path}; a finished test run writes its scores"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; {_REMEDY}") from error
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV table ({error}); {_REMEDY}") from error
    if not lines:
        raise ValueError(f"{path} is empty; {_REMEDY}")
    if not text.endswith("\n"):
        raise ValueError(f"{path} is cut off in line {lines[-1][0]}; {_REMEDY}")
    return lines[0][1], lines[1:]


def parse_rows(
    path: Path, lines: Iterable[Line], width: int, parse: Callable[[list[str]], Row]
) -> list[Row]:
    """Turn the cells of each line into a row.

    Raises:
        ValueError: If a line has not `width` cells or cannot be parsed; the message names it.
    """
    rows = []
    for number, cells in lines:
        try:
            if len(cells) != width:
                raise ValueError(f"it has {len(cells)} of {width} cells")
            rows.append(parse(cells))
        except ValueError as error:
            raise ValueError(f"line {number} of {path} is damaged: {error}; {_REMEDY}") from error
    return rows


def check_columns(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    """Check the first line of a table.

    Raises:
        ValueError: If it is another one's.
    """
    if list(found) != list(expected):
        raise ValueError(
            f"{path} is no such table of scores: its columns are {', '.join(found)}, expected "
            f"{', '.join(expected)}; give the file that the test run wrote"
        )


def parse_number(cell: str) -> float:
    """Return the number in a cell.

    Raises:
        ValueError: If it is none, or not finite.
    """
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(f"{cell!r} is not finite")
    return value


def check_unique(keys: Iterable[tuple[str, ...]]) -> None:
    """Check that no case counts twice.

    Raises:
        ValueError: If one does.
    """
    seen: set[tuple[str, ...]] = set()
    for key in keys:
        if key in seen:
            raise ValueError(
                f"{' / '.join(key)} was scored twice; leave out the samples that only fill up a "
                "batch (weight 0)"
            )
        seen.add(key)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return str(value)
