"""Processes that end with the experiment, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

GRACE_S = 20.0  # a training ends after the batch it is at

# Its input ends when the experiment does, even by kill -9.
_GUARD = """
import contextlib, os, signal, sys
groups = set()
for line in sys.stdin:
    group = int(line)
    groups = groups | {group} if group > 0 else groups - {-group}
for group in groups:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
"""


class StoppedError(BaseException):
    """The experiment was asked to end by SIGTERM."""


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into `StoppedError`, so that children are ended before this process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can ask for signals
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise StoppedError(f"signal {number}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Children:
    """Processes in groups of their own, with all that they start.

    Leaving the context ends those that still run: politely first, then not. If this process is
    killed, a guard ends them.
    """

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Children:
        if os.name == "posix":
            command = [sys.executable, "-I", "-S", "-c", _GUARD]
            self._guard = subprocess.Popen(
                command, stdin=subprocess.PIPE, start_new_session=True, bufsize=0
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._end_all()
        finally:
            if self._guard is not None and self._guard.stdin is not None:
                self._guard.stdin.close()
                self._guard.wait()

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        cores: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a program that writes all it says to the end of a file.

        Args:
            words: The program and its arguments.
            environment: Its environment variables.
            log: The file.
            cores: Numbers of the cores that it may run on; all that this process may, if empty.

        Raises:
            OSError: If it cannot be started, or the file cannot be written.
        """
        with log.open("ab") as file:
            process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        self._running.append(process)
        self._announce(process.pid)
        if cores and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.sched_setaffinity(process.pid, cores)
        return process

    def poll(self, process: subprocess.Popen[bytes]) -> int | None:
        """Return the exit code of a process, None while it runs; end what it leaves behind."""
        code = process.poll()
        if code is not None and process in self._running:
            _kill(process)
            self._running.remove(process)
            self._announce(-process.pid)
        return code

    def _announce(self, group: int) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(f"{group}\n".encode())

    def _end_all(self) -> None:
        for process in self._running:
            # Not its group: a training that loses its data workers says that memory was short.
            process.terminate()
        deadline = time.monotonic() + GRACE_S
        for process in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _kill(process)  # and what it has started
            process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):  # all have ended just now
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
