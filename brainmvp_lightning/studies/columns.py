"""The columns of a manifest file."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from pathlib import Path

COLUMNS = (
    "patient",
    "session",
    "dataset",
    "modality",
    "path",
    "label",
    "class",
    "split",
    "label_scheme",
    "brain_mask",
    "volumes",
)
REQUIRED = ("patient", "modality", "path")
_OPTIONAL = tuple(column for column in COLUMNS if column not in REQUIRED)


class ManifestError(ValueError):
    """A manifest that cannot be used as a whole; the message lists every fault."""


def read_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and values by column of a CSV table; missing values are empty.

    Comma, semicolon and tab separate; other columns are ignored.

    Raises:
        ManifestError: If the file is missing, is not text, or lacks a required column.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(
            f"manifest {table} cannot be read ({error.strerror}); correct the path"
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"manifest {table} is not UTF-8 text; save it as CSV") from error
    lines = text.splitlines()
    if not lines:
        raise ManifestError(f"manifest {table} is empty; its first line must name the columns")
    separator = max(",;\t", key=lines[0].count)
    reader = csv.DictReader(lines, delimiter=separator, restval="")
    reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or ()]
    _check_columns(table, list(reader.fieldnames))
    for row in reader:
        yield reader.line_num, {column: (row.get(column) or "").strip() for column in COLUMNS}


def _check_columns(table: Path, found: list[str]) -> None:
    missing = [column for column in REQUIRED if column not in found]
    # A misspelt 'split' would silently deal the patients anew.
    optional = [column for column in COLUMNS if column not in (*REQUIRED, *found)]
    renames = _renames(missing, found, 0.5) + _renames(optional, found, 0.75)
    if missing or renames:
        fault = f"has no column {' and no '.join(map(repr, missing))}" if missing else "is unclear"
        remedy = f"; rename {' and '.join(renames)}" if renames else ""
        raise ManifestError(
            f"manifest {table} {fault}{remedy} (found: {', '.join(found)}; "
            f"required: {', '.join(REQUIRED)}; optional: {', '.join(_OPTIONAL)})"
        )


def _renames(missing: list[str], found: list[str], cutoff: float) -> list[str]:
    others = [name for name in found if name not in COLUMNS]
    pairs = ((name, difflib.get_close_matches(name, others, 1, cutoff)) for name in missing)
    return [f"{close[0]!r} to {name!r}" for name, close in pairs if close]
