"""Runs the programs that pages call, without loading torch again for each.

``python -m tests.docs.server SOCKET BIN`` loads everything once and then forks a process for each
call. The programs in the folder ``BIN`` are links to `SHIM`, which hands its words, folder,
environment and streams over. So a page is run by a real shell, and a call runs as in a terminal.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

Program = Callable[[str, list[str]], int]
"""Called with the name of a program and its words; returns its exit code."""

SHIM = f"""#!{sys.executable} -IS
import json, os, socket, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
ours = words[:2] == ["-m", "brainmvp_lightning"]
if name == "python" and words[0].startswith("-") and not ours:
    os.execv({sys.executable!r}, [{sys.executable!r}, *words])
call = json.dumps([name, words, os.getcwd(), dict(os.environ)]).encode()
server = socket.socket(socket.AF_UNIX)
server.connect(os.environ["DOCS_SERVER"])
socket.send_fds(server, [len(call).to_bytes(8, "big")], [0, 1, 2])
server.sendall(call)
sys.exit(int(server.recv(16) or b"137"))
"""


def serve(address: str, programs: Path) -> None:
    """Answer calls until the process is ended."""
    sys.executable = str(programs / "python")  # what experiments start their runs with
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    from tests.docs import stand_ins

    for module, _ in stand_ins.COMMANDS.values():
        with contextlib.suppress(ImportError):  # the call that needs it says so
            importlib.import_module(f"brainmvp_lightning.commands.{module}")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(connection, stand_ins.call)
            connection.close()


def _answer(connection: socket.socket, call: Program) -> None:
    """Run one call in a process of its own and send its exit code."""
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    message = b""
    while len(message) < int.from_bytes(head, "big"):
        message += connection.recv(1 << 16)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker = os.fork()
    if worker == 0:
        connection.close()
        _work(*json.loads(message), streams=streams, call=call)
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    with contextlib.suppress(OSError):  # who asked may be gone
        connection.sendall(str(status if status >= 0 else 128 - status).encode())
    os._exit(0)


def _work(
    name: str,
    words: list[str],
    folder: str,
    environment: dict[str, str],
    *,
    streams: list[int],
    call: Program,
) -> None:
    """Become the program: take its streams, folder and environment, run it, and end."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, m, 1) for n, m in enumerate("rww"))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [name, *words]
    try:
        code = call(name, words)
    except SystemExit as stop:
        code = (
            stop.code if isinstance(stop.code, int) else 0 if stop.code is None else _say(stop.code)
        )
    except BaseException:  # noqa: BLE001 - as Python itself ends
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


def _say(text: object) -> int:
    sys.stderr.write(f"{text}\n")
    return 1


def run_script(words: list[str]) -> int:
    """Run a Python file, or a module after ``-m``, as Python does."""
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
