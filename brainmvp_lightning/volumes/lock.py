"""One writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.write_errors import writing

try:
    import fcntl
except ImportError:  # Windows: no lock; every write is atomic all the same
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder; a killed process lets go by itself.

    Raises:
        CacheError: If another process holds the folder.
        CacheWriteError: If the lock file cannot be written.
    """
    with writing(folder / LOCK_FILE):
        file = (folder / LOCK_FILE).open("ab")
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CacheError(
                    f"another process is writing to {folder}; wait for it or choose another folder"
                ) from error
        yield
