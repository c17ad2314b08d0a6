"""Numbers as small aligned tables of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def align(rows: Sequence[Sequence[str]]) -> str:
    """Join cells to lines: the first column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def format_title(block: Mapping[str, Any]) -> str:
    """Say which cases a block of a summary averages."""
    dataset = block["dataset"] or "all data sets"
    modalities = block["modalities"] or "the modalities of each study"
    return f"{dataset}, {modalities}: {block['cases']} cases"


def format_number(value: float | None, digits: int) -> str:
    """Return a number, or a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def format_ends(interval: Mapping[str, Any], digits: int) -> str:
    """Return `low` and `high` of an interval, or a dash for none."""
    if interval["low"] is None:
        return "-"
    return f"{interval['low']:.{digits}f} .. {interval['high']:.{digits}f}"
