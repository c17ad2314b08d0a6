"""Files that are written only if they say something new, and tables among them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from brainmvp_lightning.volumes.atomic import sync_folder, write_bytes
from brainmvp_lightning.volumes.write_errors import writing


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file atomically unless it already says this; return whether it was written.

    Raises:
        CacheWriteError: If it cannot be written.
    """
    if path.exists() and path.read_bytes() == content:
        return False
    with writing(path):
        write_bytes(path, content)
        sync_folder(path.parent)
    return True


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Write a CSV table like `write_if_changed`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    return write_if_changed(path, text.getvalue().encode())
