"""Jobs that processes can import, some of which end them."""

import os
import signal
import time
from concurrent.futures import CancelledError
from pathlib import Path

from brainmvp_lightning.preprocessing.preparation import Prepared
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study


def studies(root: Path, patients: str) -> list[Study]:
    """A study for each letter; an existing file for each, as workers look for it."""
    found = []
    for patient in patients:
        path = root / f"{patient}.nii.gz"
        path.touch()
        scan = Scan(patient, "", "d", "t1", path)
        found.append(Study(patient, "d", patient, "", (scan,), None, None, "train"))
    return found


def harmless(study: Study) -> Prepared:
    return Prepared(None, (Problem(study.id, "f", "done", "", is_handled=True),))


def slow(study: Study) -> Prepared:
    """Take long enough for something else to happen."""
    time.sleep(0.3)
    return harmless(study)


def deadly_for_x(study: Study) -> Prepared:
    """End the process whenever the study is x, as the kernel does when memory runs out."""
    if study.id == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    return harmless(study)


def deadly_once_for_x(study: Study) -> Prepared:
    """End the process the first time that the study is x."""
    marker = study.scans[0].path.with_suffix(".died")
    if study.id == "x" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return harmless(study)


def failing(study: Study) -> Prepared:
    raise OSError(f"no disk for {study.id}")


def cancelled(study: Study) -> Prepared:
    raise CancelledError
