"""Programs of others, run one scan at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.volumes.errors import CacheWriteError
from brainmvp_lightning.volumes.nifti import Volume, write_nifti

TIMEOUT_S = 900.0

# Its input ends when the process that holds the other end does, even by kill -9.
_GUARD = """
import contextlib, os, shutil, signal, sys
group = 0
for line in sys.stdin:
    group = int(line)
if group:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class MissingToolError(RuntimeError):
    """A program or package that the recipe needs is not installed; ends the job."""


class ToolError(RuntimeError):
    """A program failed on one scan; the message is part of a sentence."""


class ImplausibleError(ToolError):
    """A program did its work, but the result cannot be right; it would be the same again."""


class PassingProblem(Problem):
    """A file that was set aside for a fault that may be gone at the next run."""


def problem_after(error: ToolError, study: str, file: Path, reason: str, remedy: str) -> Problem:
    """Return the sentence about a scan that was set aside because a program failed on it."""
    kind = Problem if isinstance(error, ImplausibleError) else PassingProblem
    return kind(study, str(file), reason, remedy)


@dataclass(frozen=True)
class Workplace:
    """A temporary folder for one program at a time.

    Args:
        folder: Where its files are.
        guard: Tells the guard which process group is at work there, 0 for none.
    """

    folder: Path
    guard: IO[bytes]

    def write(self, name: str, volume: Volume) -> Path:
        """Write an image into the folder.

        Raises:
            CacheWriteError: If it cannot be written; no other study would fare better.
        """
        with _writing():
            write_nifti(self.folder / name, volume.real(), volume.affine)
        return self.folder / name

    def announce(self, group: int) -> None:
        """Tell the guard whom to end if this process is killed."""
        with contextlib.suppress(BrokenPipeError):  # somebody has ended the guard
            self.guard.write(f"{group}\n".encode())


@contextlib.contextmanager
def workplace() -> Iterator[Workplace]:
    """Make a temporary folder that vanishes, with the program at work in it, in any case.

    A small guard process sees to it, since nothing else survives ``kill -9`` of this one.

    Raises:
        CacheWriteError: If it cannot be made.
    """
    with _writing():
        folder = Path(tempfile.mkdtemp(prefix="brainmvp-"))
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
    with guard:
        assert guard.stdin is not None
        try:
            yield Workplace(folder, guard.stdin)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def run_tool(command: Sequence[str], place: Workplace, timeout_s: float = TIMEOUT_S) -> None:
    """Run a program on one thread, and end it with all its children if it takes too long.

    Args:
        command: Program and arguments.
        place: Where its files are; its guard ends the program if this process is killed.
        timeout_s: Seconds after which it is ended.

    Raises:
        ToolError: If it fails or takes too long.
        MissingToolError: If there is no such program.
    """
    name = os.path.basename(command[0])  # noqa: PTH119 - may be any word
    with _start(command, place) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end_group(process)
            raise ToolError(f"{name} took longer than {timeout_s:g} s") from error
        except BaseException:
            _end_group(process)
            raise
        finally:
            place.announce(0)
    if process.returncode:
        lines = output.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        raise ToolError(f"{name} failed with code {process.returncode}: {last[:200]}")


def _announce_self(guard: int) -> None:
    """Tell the guard of this process, as its own group, before it becomes the program."""
    with contextlib.suppress(OSError):  # somebody has ended the guard
        os.write(guard, f"{os.getpid()}\n".encode())


def _start(command: Sequence[str], place: Workplace) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            # Between start and a word from here, this process could be killed.
            preexec_fn=partial(_announce_self, place.guard.fileno())
            if os.name == "posix"
            else None,
        )
    except BlockingIOError as error:  # too many processes for now
        raise ToolError(f"{command[0]} could not be started ({error.strerror})") from error
    except OSError as error:
        place.announce(0)
        raise MissingToolError(
            f"program {command[0]!r} cannot be run ({error.strerror}); install it or correct "
            "the recipe"
        ) from error


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheWriteError(
            f"cannot write temporary files ({error}); free some space or set TMPDIR to another "
            "folder, and run the same command again, it goes on after the studies that are finished"
        ) from error
