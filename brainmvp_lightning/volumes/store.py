"""Where the files of a cache are read from: a folder, or anything fsspec knows."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from brainmvp_lightning.volumes.errors import CacheError, DamagedFrameError
from brainmvp_lightning.volumes.frame import digest_of, read_frame
from brainmvp_lightning.volumes.local_cache import LocalCache

WAITS_S = (0.2, 1.0, 4.0)  # before the second, third and fourth try
TIMEOUT_S = 120.0
LISTS = "studies"  # folder beside local copies of frames, which never push out these files
LISTS_BYTES = 10**9  # local copies of mapped files together, some megabytes each

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
_HOPELESS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError)

Result = TypeVar("Result")

# Connections of the process this one was forked from. Closing one, or letting it go, would disturb
# that process, whose sockets and selector they are.
_INHERITED: list[_Connection] = []


class Store(Protocol):
    """Source of the files of a cache; can be pickled to data workers."""

    def read(self, file: str) -> bytes:
        """Return a file without checking it.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If it cannot be read.
        """

    def read_checked(self, file: str, digest: str) -> bytes:
        """Return a file whose bytes are those that were written.

        Raises:
            DamagedFrameError: If it is missing, cannot be read or is damaged.
        """

    def fetch(self, file: str, digest: str) -> Path | bytes:
        """Return a file as a path that can be mapped into memory, or as its bytes."""

    def close(self) -> None:
        """Give up what this process holds open; it may read on."""


class FolderStore:
    """A folder of this machine.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FolderStore) and other.folder == self.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def read(self, file: str) -> bytes:
        """Return a file without checking it."""
        return (self.folder / file).read_bytes()

    def read_checked(self, file: str, digest: str) -> bytes:
        """Return a file whose bytes are those that were written."""
        return read_frame(self.folder / file, digest)

    def fetch(self, file: str, digest: str) -> Path | bytes:
        """Return the path of a file."""
        del digest
        return self.folder / file

    def close(self) -> None:
        """Do nothing: no file stays open."""


class RemoteStore:
    """A place that fsspec opens, such as ``s3://bucket/cache``, with an optional local copy.

    Each process makes its own connection at its first read, and none of them runs a thread: a
    process may fork data workers at any time. A failed read is tried again after growing waits.

    Args:
        url: Place of the cache.
        local: Copies of what was read; None reads from the network each time.
        waits_s: Seconds before each further try.
    """

    def __init__(
        self, url: str, local: LocalCache | None = None, waits_s: tuple[float, ...] = WAITS_S
    ) -> None:
        self.url = url.rstrip("/")
        self.local = local
        self.waits_s = waits_s
        self._connection: _Connection | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def read(self, file: str) -> bytes:
        """Return a file without checking it.

        Raises:
            CacheError: If a package is missing, or the kind of place is unknown.
            FileNotFoundError: If there is none.
            OSError: If it cannot be read after the last try.
        """
        for wait_s in (*self.waits_s, None):
            try:
                return self._connect().read(f"{self.url}/{file}")
            except (*_HOPELESS, CacheError):
                raise
            except Exception as error:  # each file system raises errors of its own
                if wait_s is None:
                    reason = f"{type(error).__name__}: {error}".rstrip(": ")
                    raise OSError(f"{reason}, {len(self.waits_s) + 1} tries") from error
                self.close()
                time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def read_checked(self, file: str, digest: str) -> bytes:
        """Return a file, from the local copy if that is whole; see `Store`."""
        return self._read_through(self.local, file, digest)

    def fetch(self, file: str, digest: str) -> Path | bytes:
        """Return the path of the local copy of a file, or its bytes where there is no copy."""
        lists = LocalCache(self.local.folder / LISTS, LISTS_BYTES) if self.local else None
        content = self._read_through(lists, file, digest)
        path = lists.path_of(digest) if lists else None
        return path if path is not None and path.exists() else content

    def close(self) -> None:
        """Give up the connection of this process; the next read makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _read_through(self, copies: LocalCache | None, file: str, digest: str) -> bytes:
        content = copies.read(digest) if copies else None
        if content is None:
            content = self._download(file, digest)
            if copies:
                copies.write(digest, content)
        return content

    def _download(self, file: str, digest: str) -> bytes:
        where = f"{self.url}/{file}"
        for _ in range(2):  # what was damaged on the way is whole the second time
            try:
                content = self.read(file)
            except OSError as error:
                reason = error.strerror or str(error)
                raise DamagedFrameError(
                    f"{where}: cannot be read ({reason}); see to the connection, or upload the file"
                ) from error
            if digest_of(content) == digest:
                return content
        raise DamagedFrameError(
            f"{where}: its bytes are not those that were written; upload the file again"
        )

    def _connect(self) -> _Connection:
        if self._connection is None or self._connection.process != os.getpid():
            if self._connection is not None:
                _INHERITED.append(self._connection)
            self._connection = _Connection(self.url)
            weakref.finalize(self, self._connection.close)
        return self._connection


class _Connection:
    """A file system of one process, driven by an event loop without a thread."""

    def __init__(self, url: str) -> None:
        self.process = os.getpid()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.session: Any = None
        self.files = _file_system(url)

    def read(self, url: str) -> bytes:
        if not self.files.async_impl:
            content: bytes = self.files.cat_file(url)
            return content
        return _in_free_thread(lambda: self._complete(self._read(url)))

    async def _read(self, url: str) -> bytes:
        if self.session is None and hasattr(self.files, "set_session"):
            self.session = await self.files.set_session()
        content: bytes = await asyncio.wait_for(self.files._cat_file(url), TIMEOUT_S)
        return content

    def _complete(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        if self.process != os.getpid():
            _INHERITED.append(self)
            return
        if self.loop is None or self.loop.is_closed():
            return
        session_close = getattr(self.session, "close", None)
        try:
            if session_close is not None:
                _in_free_thread(lambda: self._complete(session_close()))
        finally:
            self.loop.close()


def _file_system(url: str) -> Any:  # noqa: ANN401 - fsspec has no types
    import fsspec

    protocol = url.split("://", 1)[0]
    try:
        kind = fsspec.get_filesystem_class(protocol)
        options = kind._get_kwargs_from_urls(url)
        if kind.async_impl:
            options.update(asynchronous=True, skip_instance_cache=True)
        return kind(**options)
    except ImportError as error:
        package = _PACKAGES.get(protocol, f"the package that fsspec names ({error})")
        raise CacheError(f"{url} needs {package}; pip install {package}") from error
    except ValueError as error:
        known = ", ".join(f"{name}://" for name in _PACKAGES)
        raise CacheError(
            f"{url} cannot be opened ({error}); known are a folder, {known}"
        ) from error


def _in_free_thread(work: Callable[[], Result]) -> Result:
    """Do some work where no event loop runs: in a notebook, one runs in this very thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
