"""Failed writes in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmvp_lightning.volumes.errors import CacheWriteError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failed write into one sentence.

    Raises:
        CacheWriteError: In place of any `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise CacheWriteError(_explain(path, error)) from error


def _explain(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason, remedy = "the disk is full", "free some space"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason, remedy = "the folder is read-only", "choose another cache folder"
    else:
        reason, remedy = f"{error.strerror or error}", "see to the disk"
    return (
        f"cannot write {path}: {reason}; {remedy} and run the same command again, "
        "it goes on after the studies that are finished"
    )
