"""One line for each finished study, so that a killed job goes on where it stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """An append-only file of JSON lines; a line that was cut by a crash is ignored.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """Return all complete lines in the order they were written."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        entries = (_parse(line) for line in complete.splitlines())
        return [entry for entry in entries if entry is not None]

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line and wait until it is on the disk.

        Raises:
            OSError: If it cannot be written.
        """
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self.path.open("ab") as file:
            if _ends_torn(self.path):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
