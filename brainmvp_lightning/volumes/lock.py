"""One writer at a time, or several that share the work."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.shards import Shard
from brainmvp_lightning.volumes.write_errors import writing

try:
    import fcntl
except ImportError:  # Windows: no lock; every write is atomic all the same
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
COMMIT_LOCK = f"{LOCK_FILE}.commit"

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def lock_folder(folder: Path, shard: Shard | None = None) -> Iterator[None]:
    """Keep other processes from writing to a folder; a killed process lets go by itself.

    The shards of one job share the folder; each has a lock of its own besides. File systems
    without locks give none.

    Args:
        folder: The folder.
        shard: Part of the job; None keeps everybody out.

    Raises:
        CacheError: If another process holds the folder, or this part of it.
        CacheWriteError: If a lock file cannot be written.
    """
    with ExitStack() as stack:
        if shard is None:
            _hold(stack, folder / LOCK_FILE, f"another process is writing to {folder}")
        else:
            taken = f"another process, which is no shard, is writing to {folder}"
            _hold(stack, folder / LOCK_FILE, taken, is_shared=True)
            with lock_commit(folder):
                _refuse_other_counts(folder, shard)
                taken = f"another process is working on shard {shard.index}/{shard.count} already"
                _hold(stack, _lock_of(folder, shard), taken)
        yield


@contextmanager
def lock_commit(folder: Path) -> Iterator[None]:
    """Wait until no other shard starts or commits, and keep them waiting.

    Raises:
        CacheWriteError: If the lock file cannot be written.
    """
    with _open(folder / COMMIT_LOCK) as file:
        _flock(file, is_shared=False, is_patient=True)
        yield


def is_lock(name: str) -> bool:
    """Tell whether a file name is that of a lock."""
    return name == LOCK_FILE or name.startswith(f"{LOCK_FILE}.")


def _refuse_other_counts(folder: Path, shard: Shard) -> None:
    for path in sorted(folder.glob(f"{LOCK_FILE}.*-of-*")):
        count = path.name.rpartition("-of-")[2]
        if count != str(shard.count):
            with ExitStack() as stack:
                taken = f"a shard of {count}, not of {shard.count}, is at work on {folder}"
                _hold(stack, path, taken)


def _lock_of(folder: Path, shard: Shard) -> Path:
    return folder / f"{LOCK_FILE}.{shard.name}"


def _hold(stack: ExitStack, path: Path, taken: str, *, is_shared: bool = False) -> None:
    file = stack.enter_context(_open(path))
    try:
        _flock(file, is_shared=is_shared)
    except BlockingIOError as error:
        raise CacheError(f"{taken}; wait for it or choose another folder") from error


def _open(path: Path) -> IO[bytes]:
    with writing(path):
        return path.open("a+b")  # shared locks on network folders need a file open for reading


def _flock(file: IO[bytes], *, is_shared: bool, is_patient: bool = False) -> None:
    if fcntl is None:
        return
    flags = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, flags if is_patient else flags | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
