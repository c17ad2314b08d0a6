"""Tables about people that come with a data set."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PhenotypeTable:
    """Rows of one CSV or TSV file; columns are found whatever their case and punctuation.

    Args:
        path: The file.
        columns: Names as they are written.
        rows: Values by column.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    @classmethod
    def read(cls, path: Path) -> PhenotypeTable:
        """Read a table; comma, semicolon and tab separate.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no text table.
        """
        if path.suffix.casefold() in (".xls", ".xlsx"):
            raise ValueError(f"{path} is a spreadsheet; save it as CSV and name that file")
        if not path.is_file():
            raise FileNotFoundError(f"there is no table {path}; correct its path")
        lines = _decode(path.read_bytes()).splitlines()
        if not lines:
            raise ValueError(f"{path} is empty; its first line must name the columns")
        reader = csv.DictReader(lines, delimiter=max(",;\t", key=lines[0].count), restval="")
        rows = tuple(
            {name: (value or "").strip() for name, value in row.items() if name} for row in reader
        )
        return cls(path, tuple(name for name in reader.fieldnames or () if name), rows)

    def find_column(self, *names: str) -> str | None:
        """Return the first column with one of the names, as it is written, or None."""
        written = {_plain(column): column for column in reversed(self.columns)}
        return next((written[_plain(name)] for name in names if _plain(name) in written), None)

    def column(self, *names: str) -> str:
        """Return the first column with one of the names, as it is written.

        Raises:
            ValueError: If there is none; the message lists the nearest columns.
        """
        found = self.find_column(*names)
        if found is not None:
            return found
        close = [column for column in self.columns if _plain(names[0]) in _plain(column)][:3]
        close = close or difflib.get_close_matches(names[0], self.columns, n=3, cutoff=0.4)
        question = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"{self.path} has no column {' or '.join(map(repr, names))}{question} "
            f"(found: {', '.join(self.columns)})"
        )


def read_tables(root: Path, pattern: str) -> list[PhenotypeTable]:
    """Read the tables that a path or a pattern names, relative to `root` unless absolute.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If one is no text table.
    """
    return [PhenotypeTable.read(path) for path in _tables(root, pattern)]


def same_value(first: str, second: str) -> bool:
    """Tell whether two cells mean the same: ``1.0`` is ``1``, case does not matter."""
    return _cell(first) == _cell(second)


def find_value(cell: str, values: Sequence[str]) -> str | None:
    """Return the one of `values` that a cell means, or None."""
    return next((value for value in values if same_value(cell, value)), None)


def _tables(root: Path, pattern: str) -> Iterator[Path]:
    if not re.search(r"[*?\[]", pattern):
        yield root / pattern
        return
    place = Path(pattern)
    anchor, rest = (Path(place.anchor), pattern[len(place.anchor) :])
    found = sorted((anchor if place.anchor else root).glob(rest))
    if not found:
        raise FileNotFoundError(f"no table matches {pattern} in {root}; correct 'phenotypes'")
    yield from found


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # what spreadsheets write


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _cell(text: str) -> str:
    plain = text.strip().casefold()
    return plain[:-2] if re.fullmatch(r"-?\d+\.0", plain) else plain
