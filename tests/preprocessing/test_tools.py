import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.preprocessing import tools as module
from brainmvp_lightning.preprocessing.tools import MissingToolError, ToolError, run_tool, workplace
from brainmvp_lightning.volumes.errors import CacheWriteError
from brainmvp_lightning.volumes.nifti import Volume, read_nifti

IMAGE = Volume(np.ones((5, 6, 7), np.int16), np.eye(4))

# Runs a program with a child of its own and waits for ever.
JOB = """
import sys
from brainmvp_lightning.preprocessing.tools import run_tool, workplace
with workplace() as place:
    (place.folder / "image.nii").write_bytes(b"x")
    run_tool(["sh", "-c", f"sleep 60 & echo $$ $! > {sys.argv[1]}; wait"], place)
"""


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    found = tmp_path / "temporary"
    found.mkdir()
    monkeypatch.setenv("TMPDIR", str(found))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return found


def test_a_folder_holds_an_image_and_vanishes(folders: Path) -> None:
    with workplace() as place:
        assert read_nifti(place.write("image.nii", IMAGE)).shape == (5, 6, 7)
        assert place.folder.parent == folders
        run_tool(["true"], place)
    assert list(folders.iterdir()) == []


def test_what_goes_wrong_with_a_program_is_said_and_the_folder_vanishes(folders: Path) -> None:
    with pytest.raises(ToolError, match="sh failed with code 3: no net"), workplace() as place:
        run_tool(["sh", "-c", "echo no net; exit 3"], place)
    with pytest.raises(ToolError, match=r"sleep took longer than 0.01 s"), workplace() as place:
        run_tool(["sleep", "60"], place, 0.01)
    with (
        pytest.raises(MissingToolError, match="'no_such_tool' cannot be run"),
        workplace() as place,
    ):
        run_tool(["no_such_tool"], place)
    assert list(folders.iterdir()) == []


def test_a_program_that_ends_while_it_is_ended_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    end = os.killpg

    def end_twice(group: int, number: int) -> None:
        end(group, number)
        raise ProcessLookupError

    monkeypatch.setattr(module.os, "killpg", end_twice)
    with pytest.raises(ToolError, match="took longer"), workplace() as place:
        run_tool(["sleep", "60"], place, 0.01)


def test_a_full_temporary_folder_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_nifti", full)
    words = r"cannot write temporary files \(.*No space left.*\); free some space or set TMPDIR"
    with pytest.raises(CacheWriteError, match=words), workplace() as place:
        place.write("image.nii", IMAGE)


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_kill_9_of_a_job_ends_its_program_with_all_children_and_removes_the_folder(
    folders: Path, tmp_path: Path
) -> None:
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(tmp_path / "pids")],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    wait_for(lambda: not list(folders.iterdir()) and not any(map(is_alive, pids)))
    assert len(pids) > 1
    assert list(folders.iterdir()) == []


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().split()[2] != "Z"


def wait_for(condition: object, seconds: float = 30) -> None:
    started = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - started < seconds
        time.sleep(0.01)
