"""Faults that pass are tried again by the next run; others are remembered."""

import errno
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmvp_lightning.preprocessing import pipeline, registration, tools
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.tools import ImplausibleError, ToolError
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.cache import CacheWriteError
from tests.preprocessing.cohort import SHAPE, run, write_cohort, write_scan
from tests.volumes.images import save, scaled

RIGID = Recipe(registration="rigid")


def refuse(monkeypatch: pytest.MonkeyPatch, bad: Path, number: int) -> None:
    """Let the system refuse to read a file."""
    good = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == bad:
            raise OSError(number, "refused")
        return good(path)

    monkeypatch.setattr(Path, "read_bytes", read)


def label_of(root: Path) -> Path:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[5:7, 5:7, 4:6] = 1
    return save(root / "label.nii.gz", voxels, scaled(1.0, (-6, -7, -5)))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("kind", ["path", "label", "brain_mask"])
def test_a_file_that_could_not_be_read_for_a_while_joins_at_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    facts: dict[str, Any] = {"label": label_of(tmp_path), "brain_mask": label_of(tmp_path)}
    scans = [write_scan(tmp_path, "p", "t1", **facts), write_scan(tmp_path, "q", "t1", **facts)]
    facts["path"] = scans[0].path
    recipe = Recipe(brain_mask="file" if kind == "brain_mask" else "none")
    with monkeypatch.context() as patch:
        refuse(patch, facts[kind], number)
        assert run(tmp_path, scans, recipe).rejected
    summary = run(tmp_path, scans, recipe)
    assert (summary.num_studies, summary.num_labels, summary.rejected) == (2, 2, ())
    assert run(tmp_path, scans, recipe).num_new == 0


@pytest.mark.parametrize("error", [MemoryError("1 GiB"), OSError(errno.EIO, "x"), ValueError("x")])
def test_an_unforeseen_fault_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    scans = write_cohort(tmp_path, 2)

    def fails(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "prepare_study", fails)
        assert run(tmp_path, scans).num_studies == 0
    summary = run(tmp_path, scans)
    assert (summary.num_studies, summary.num_new, summary.rejected) == (2, 2, ())


@pytest.mark.parametrize(
    ("error", "num_again"), [(ToolError("out of memory"), 1), (ImplausibleError("mirrored"), 0)]
)
def test_a_failed_program_is_tried_again_but_a_verdict_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: ToolError, num_again: int
) -> None:
    scans = write_cohort(tmp_path, 1)

    def fails(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(registration, "_run_niimath", fails)
        assert len(run(tmp_path, scans, RIGID).rejected) == 1
    monkeypatch.setattr(registration, "_run_niimath", lambda *_: np.eye(4))
    summary = run(tmp_path, scans, RIGID)
    assert (summary.num_new, len(summary.rejected)) == (num_again, 1 - num_again)


def test_a_template_that_could_not_be_reached_sets_no_study_aside_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_cohort(tmp_path, 1)
    recipe = Recipe(template=str(scans[0].path), template_registration="rigid")

    def fails(*_: object) -> None:
        raise ToolError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(registration, "_run_niimath", fails)
        assert run(tmp_path, scans, recipe).num_studies == 0
    monkeypatch.setattr(registration, "_run_niimath", lambda *_: np.eye(4))
    assert run(tmp_path, scans, recipe).num_studies == 1


def test_a_mask_tool_that_was_repaired_is_tried_again(tmp_path: Path) -> None:
    scans, script = write_cohort(tmp_path, 1), tmp_path / "tool.py"
    script.write_text("import sys; sys.exit(137)")
    command = f"{shlex.join([sys.executable, str(script)])} {{image}} {{mask}}"
    recipe = Recipe(brain_mask=command)
    assert run(tmp_path, scans, recipe).num_studies == 0
    script.write_text("import shutil, sys; shutil.copy(*sys.argv[1:])")
    assert run(tmp_path, scans, recipe).num_studies == 1
    assert run(tmp_path, scans, recipe).num_new == 0


def test_a_full_temporary_folder_ends_the_job_instead_of_setting_all_studies_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_cohort(tmp_path, 2)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tools, "write_nifti", full)
    with pytest.raises(CacheWriteError, match="cannot write temporary files"):
        run(tmp_path, scans, RIGID)
    monkeypatch.setattr(registration, "_run_niimath", lambda *_: np.eye(4))
    assert run(tmp_path, scans, RIGID).num_new == 2


def test_a_damaged_file_is_remembered(tmp_path: Path) -> None:
    scans: list[Scan] = write_cohort(tmp_path, 2)
    scans[0].path.write_bytes(scans[0].path.read_bytes()[:60])
    assert len(run(tmp_path, scans).rejected) == 1
    assert run(tmp_path, scans).num_new == 0
