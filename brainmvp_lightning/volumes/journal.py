"""One line for each finished study, so that a killed job goes on where it stopped.

Each shard of a job keeps a journal of its own; everybody reads all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from brainmvp_lightning.volumes.shards import Shard

JOURNAL_FILE = "journal.jsonl"
JOURNALS = "journal*.jsonl"

Entry = dict[str, Any]


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


def journal_file(shard: Shard | None) -> str:
    """Return the name of the journal of a job, or of a part of it."""
    return JOURNAL_FILE if shard is None else f"journal.{shard.name}.jsonl"


def is_journal(name: str) -> bool:
    """Tell whether a file name is that of a journal."""
    return fnmatch(name, JOURNALS)


def read_journals(root: Path) -> dict[str, list[Entry]]:
    """Return the complete lines of all journals of a folder by file name."""
    return {path.name: Journal(path).read() for path in sorted(root.glob(JOURNALS))}


def latest_entries(journals: Iterable[list[Entry]]) -> dict[str, Entry]:
    """Return the last word on each study.

    Within a journal it is the last line; among journals, the line with the latest time ``at``. A
    study that was being prepared again (``redo``) has none.
    """
    latest: dict[str, Entry] = {}
    for journal in journals:
        for study, entry in {line["study"]: line for line in journal if "study" in line}.items():
            if study not in latest or entry.get("at", 0) >= latest[study].get("at", 0):
                latest[study] = entry
    return {
        study: {key: value for key, value in entry.items() if key != "at"}
        for study, entry in latest.items()
        if not entry.get("redo")
    }


def newest_time(journals: Iterable[list[Entry]]) -> int:
    """Return the latest time ``at`` in any journal, 0 if there is none."""
    return max((line.get("at", 0) for journal in journals for line in journal), default=0)


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
