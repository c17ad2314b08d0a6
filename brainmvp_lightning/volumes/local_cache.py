"""Local copies of files from far away, bounded in size and safe for many processes."""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
import warnings
from contextlib import suppress
from pathlib import Path

from brainmvp_lightning.volumes.atomic import TEMPORARY
from brainmvp_lightning.volumes.frame import digest_of

FULL = 0.9  # share of the limit that is kept when room is made
SLACK = 0.01  # share of the limit a process may add before it looks at the folder again, at most
TOUCH_S = 60.0  # a use is noted at most so often
ABANDONED_S = 3600.0  # an unfinished file this old has no writer any more

# What is called like this below the folder was made here; all else is somebody else's.
_COPY = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{14}")
_UNFINISHED = re.compile(rf"([0-9a-f]{{2}})/\.\1[0-9a-f]{{14}}\.[0-9]+{re.escape(TEMPORARY)}")

_random = secrets.SystemRandom()  # differs between forked processes, and nobody's seed is used up


class LocalCache:
    """Files by digest; those not used for longest go first.

    There is no lock and no list: a file is complete or not there, is checked at every read, and a
    process that finds one gone fetches it again. So any number of processes may share a folder.
    Files that are not named like a copy neither count nor are they touched.

    Args:
        folder: Where the copies lie; made if needed.
        max_bytes: Their size together. Each process looks at the folder after at most a hundredth
            of it; the moment is random, so that of many processes one soon makes room for all.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._unseen: float = float("inf")  # bytes added since this process looked at the folder

    def path_of(self, digest: str) -> Path:
        """Return where the copy of a file lies."""
        return self.folder / digest[:2] / digest

    def read(self, digest: str) -> bytes | None:
        """Return the copy of a file, or None if there is none or it is damaged."""
        path = self.path_of(digest)
        try:
            content = path.read_bytes()
            if digest_of(content) != digest:
                path.unlink(missing_ok=True)
                return None
            if time.time() - path.stat().st_mtime > TOUCH_S:
                os.utime(path)
        except OSError:  # it was never there, or another process has just removed it
            return None
        return content

    def write(self, digest: str, content: bytes) -> None:
        """Keep a copy; without room or permission there is a warning, and no copy."""
        path = self.path_of(digest)
        temporary = path.with_name(f".{digest}.{os.getpid()}{TEMPORARY}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(len(content))
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            warnings.warn(
                f"no local copy in {self.folder} ({error.strerror}); each file is fetched anew",
                stacklevel=2,
            )

    def _make_room(self, num_bytes: int) -> None:
        self._unseen += num_bytes
        if self._unseen <= _random.uniform(0, SLACK) * self.max_bytes:
            return
        self._unseen = 0.0
        copies = sorted(self._copies())
        total = sum(size for _, size, _ in copies) + num_bytes
        if total <= self.max_bytes:
            return
        for _, size, path in copies:
            if total <= FULL * self.max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _copies(self) -> list[tuple[float, int, Path]]:
        copies = []
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            name = f"{path.parent.name}/{path.name}"
            if not _COPY.fullmatch(name) and not _UNFINISHED.fullmatch(name):
                continue
            try:
                status = path.lstat()
            except OSError:  # removed by another process since it was listed
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            if not name.endswith(TEMPORARY):
                copies.append((status.st_mtime, status.st_size, path))
            elif time.time() - status.st_mtime > ABANDONED_S:
                path.unlink(missing_ok=True)
        return copies
