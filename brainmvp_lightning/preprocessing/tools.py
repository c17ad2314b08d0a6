"""Programs of others, run one scan at a time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

TIMEOUT_S = 900.0


class MissingToolError(RuntimeError):
    """A program or package that the recipe needs is not installed; ends the job."""


class ToolError(RuntimeError):
    """A program failed on one scan; the message is part of a sentence."""


def run_tool(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> None:
    """Run a program on one thread, and end it with all its children if it takes too long.

    Args:
        command: Program and arguments.
        timeout_s: Seconds after which it is ended.

    Raises:
        ToolError: If it fails or takes too long.
        MissingToolError: If there is no such program.
    """
    name = os.path.basename(command[0])  # noqa: PTH119 - may be any word
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise MissingToolError(
            f"program {command[0]!r} cannot be run ({error.strerror}); install it or correct "
            "the recipe"
        ) from error
    with process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end_group(process)
            raise ToolError(f"{name} took longer than {timeout_s:g} s") from error
        except BaseException:
            _end_group(process)
            raise
    if process.returncode:
        lines = output.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        raise ToolError(f"{name} failed with code {process.returncode}: {last[:200]}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
