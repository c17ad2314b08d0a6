"""Real processes of a stand-in program: resumed, skipped, refused, failing, ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.experiments.cells import fingerprint
from brainmvp_lightning.experiments.children import Children
from brainmvp_lightning.experiments.environment import (
    core_numbers,
    job_cores,
    job_environment,
    usable_gpus,
)
from brainmvp_lightning.experiments.markers import ChangedPlanError, Marker, compare, write_marker
from brainmvp_lightning.experiments.runner import Outcome, RunOptions, run_cells
from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.lock import lock_folder
from tests.experiments.making import STAND_IN, small_plan


def run(folder: Path, arms: dict[str, Any], **options: Any) -> Outcome:
    plan = small_plan(folder, arms)
    return run_cells(plan.cells, folder / "runs", RunOptions(program=STAND_IN, **options))


def cell(folder: Path, arm: str) -> Path:
    return folder / "runs" / "finetune" / arm / "fraction_1" / "seed_0"


def name(arm: str) -> str:
    return f"finetune/{arm}/fraction_1/seed_0"


def starts(folder: Path, arm: str) -> list[str]:
    return (cell(folder, arm) / "starts.txt").read_text().split()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_finished_cells_are_skipped_and_the_rest_is_done(tmp_path: Path) -> None:
    assert run(tmp_path, {"a": None}).finished == [name("a")]
    assert (cell(tmp_path, "a") / "test" / "cases.csv").is_file()
    (cell(tmp_path, "a") / "checkpoints" / "best.ckpt").unlink()  # to save space
    outcome = run(tmp_path, {"a": None, "b": None})
    assert (outcome.skipped, outcome.finished) == ([name("a")], [name("b")])
    assert starts(tmp_path, "a") == ["fresh"]


def test_a_failing_cell_is_named_with_the_end_of_its_log_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    outcome = run(tmp_path, {"a": {"model.fail": True}, "b": None}, say=said.append)
    assert outcome.finished == [name("b")]
    text = outcome.failed[name("a")]
    assert "fit ended with code 3" in text
    assert text.endswith("the loss is NaN")
    assert str(cell(tmp_path, "a") / "fit.log") in text
    assert f"[1/2] {text}" in said
    assert said[-1] == f"[2/2] {name('b')}: finished"


def test_a_failed_training_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    flag = tmp_path / "wait"
    arms = {"a": {"model.wait": str(flag)}}
    flag.mkdir()
    code = (
        "import signal\n"
        # A shell lets the programs it runs in the background ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from brainmvp_lightning.experiments.runner import RunOptions, run_cells\n"
        "from tests.experiments.making import STAND_IN, small_plan\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"plan = small_plan(folder, {arms!r})\n"
        "run_cells(plan.cells, folder / 'runs', RunOptions(program=STAND_IN))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_for((cell(tmp_path, "a") / "checkpoints" / "last.ckpt").is_file)
    process.kill()  # as the system does when memory is short
    process.wait()
    flag.rmdir()
    assert run(tmp_path, arms).finished == [name("a")]
    assert starts(tmp_path, "a") == ["fresh", "resumed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_children_end_with_the_experiment(tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    program = (
        sys.executable,
        "-c",
        f"import os, time; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(60)",
    )
    code = (
        "import signal\n"
        # A shell lets the programs it runs in the background ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from brainmvp_lightning.experiments.runner import RunOptions, run_cells\n"
        "from tests.experiments.making import small_plan\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "plan = small_plan(folder, {'a': None, 'b': None})\n"
        f"run_cells(plan.cells, folder / 'runs', RunOptions(jobs=2, program={program!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    process.send_signal(number)
    process.wait()
    children = [int(pid) for pid in pids.read_text().split()]
    wait_for(lambda: not any(map(is_alive, children)))
    assert len(children) == 2
    assert not any(map(is_alive, children))
    assert process.returncode != 0


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_finished_training_that_left_nothing_is_done_afresh_once(tmp_path: Path) -> None:
    checkpoints = cell(tmp_path, "a") / "checkpoints"
    run(tmp_path, {"a": None})
    # Killed between the last ``last.ckpt`` and its ``best.ckpt``.
    (checkpoints / "best.ckpt").unlink()
    (checkpoints / "last.ckpt").write_text("finished")
    note = cell(tmp_path, "a") / "cell.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "done": []}))
    said: list[str] = []
    assert run(tmp_path, {"a": None}, say=said.append).finished == [name("a")]
    assert starts(tmp_path, "a") == ["fresh", "resumed", "fresh"]
    assert (cell(tmp_path, "a") / "before.ckpt").read_text() == "finished"
    assert any("was at its end but left no" in text for text in said)


def test_what_leaves_nothing_afresh_has_failed(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"a": None})
    (cell(tmp_path, "a") / "checkpoints").mkdir(parents=True)
    standing = compare(plan.cells)
    description = standing.descriptions[name("a")]
    write_marker(plan.cells[0], Marker(description, fingerprint(description)))
    (cell(tmp_path, "a") / "checkpoints" / "last.ckpt").touch()
    program = (sys.executable, "-c", "")
    outcome = run_cells(plan.cells, tmp_path / "runs", RunOptions(program=program))
    assert "left no" in outcome.failed[name("a")]


def test_a_training_without_a_best_checkpoint_is_tested_with_its_last_one(tmp_path: Path) -> None:
    arms = {"a": {"trainer.callbacks": ["LastCheckpoint"], "model.last_only": True}}
    assert run(tmp_path, arms).finished == [name("a")]


def test_a_changed_plan_is_named_and_refused_and_redone_on_demand(tmp_path: Path) -> None:
    run(tmp_path, {"a": None, "b": None})
    changed = {"a": {"model.dice": 0.7}, "b": None}
    with pytest.raises(ChangedPlanError) as refused:
        run(tmp_path, changed)
    assert f"{name('a')}: model.init_args.dice was not given, is 0.7" in str(refused.value)
    assert name("b") not in str(refused.value)
    assert starts(tmp_path, "a") == ["fresh"]
    outcome = run(tmp_path, changed, rerun=True)
    assert (outcome.finished, outcome.skipped) == ([name("a")], [name("b")])
    assert starts(tmp_path, "a") == ["fresh"]
    old = tmp_path / "runs" / "replaced" / f"{name('a')}.0"
    assert (old / "test" / "cases.csv").is_file()


def test_a_folder_with_checkpoints_of_something_else_is_refused(tmp_path: Path) -> None:
    (cell(tmp_path, "a") / "checkpoints").mkdir(parents=True)
    with pytest.raises(ChangedPlanError, match="nothing is noted"):
        run(tmp_path, {"a": None})


def test_what_needs_a_failed_cell_is_not_run(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"a": {"model.fail": True}, "b": None, "c": None})
    first, second, third = plan.cells
    cells = (first, replace(second, needs=(first.name,)), third)
    outcome = run_cells(cells, tmp_path / "runs", RunOptions(program=STAND_IN))
    assert list(outcome.failed) == [name("a")]
    assert outcome.blocked == [name("b")]
    assert outcome.finished == [name("c")]
    assert not cell(tmp_path, "b").exists()


def test_a_new_encoder_makes_the_trainings_that_start_from_it_new(tmp_path: Path) -> None:
    def cells(**changes: Any) -> Any:
        first, second = small_plan(tmp_path, {"a": changes, "b": None}).cells
        return first, replace(second, needs=(first.name,))

    run_cells(cells(), tmp_path / "runs", RunOptions(program=STAND_IN))
    with pytest.raises(ChangedPlanError) as refused:
        run_cells(cells(**{"model.dice": 0.2}), tmp_path / "runs", RunOptions(program=STAND_IN))
    assert f"{name('b')}: {name('a')} was made anew" in str(refused.value)


def test_two_experiments_on_one_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with lock_folder(tmp_path / "runs"), pytest.raises(CacheError, match="another process"):
        run(tmp_path, {"a": None})


def test_jobs_run_at_once_each_with_its_log_and_its_share_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    outcome = run(tmp_path, {"a": None, "b": None, "c": None}, jobs=2)
    assert sorted(outcome.finished) == [name("a"), name("b"), name("c")]
    for arm in "abc":
        log = (cell(tmp_path, arm) / "fit.log").read_text().splitlines()
        assert log[0].startswith("$ brainmvp fit --config ")
        assert "threads 3" in log


def test_a_step_that_leaves_nothing_has_failed(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"a": None})
    program = (sys.executable, "-c", "")
    outcome = run_cells(plan.cells, tmp_path / "runs", RunOptions(program=program))
    assert "left no" in outcome.failed[name("a")]
    assert outcome.failed[name("a")].endswith("(nothing)")


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    run(tmp_path, {"a": None})
    (cell(tmp_path, "a") / "cell.json").write_text(json.dumps({"done": 1}))
    with pytest.raises(ChangedPlanError, match="is damaged"):
        run(tmp_path, {"a": None})


@pytest.mark.parametrize(
    ("given", "slot", "jobs", "expected"),
    [
        ({}, 0, 1, {"OMP_NUM_THREADS": "16"}),
        ({}, 1, 3, {"OMP_NUM_THREADS": "5", "CUDA_VISIBLE_DEVICES": "4"}),
        ({}, 2, 3, {"OMP_NUM_THREADS": "5", "CUDA_VISIBLE_DEVICES": "2"}),
        ({"OMP_NUM_THREADS": "2"}, 0, 4, {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "2"}),
        ({"HOME": "h"}, 0, 32, {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "2", "HOME": "h"}),
    ],
)
def test_threads_are_divided_and_each_job_gets_one_gpu(
    given: dict[str, str], slot: int, jobs: int, expected: dict[str, str]
) -> None:
    assert job_environment(given, slot, jobs, 16, ["2", "4"]) == expected


@pytest.mark.parametrize(
    ("slot", "jobs", "expected"),
    [(0, 1, [3, 4, 6, 7]), (1, 3, [4]), (1, 2, [6, 7]), (4, 5, [3, 4, 6, 7])],
)
def test_jobs_run_on_cores_of_their_own(slot: int, jobs: int, expected: list[int]) -> None:
    assert job_cores(slot, jobs, [3, 4, 6, 7]) == expected


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_a_child_sees_the_cores_that_it_may_use(tmp_path: Path) -> None:
    core = core_numbers()[-1]
    asks = "import os, time; time.sleep(0.2); print(os.sched_getaffinity(0))"
    with Children() as children:
        process = children.start([sys.executable, "-c", asks], os.environ, tmp_path / "log", [core])
        process.wait()
    assert (tmp_path / "log").read_text().strip() == str({core})


def test_gpus_are_those_that_are_allowed_else_all(tmp_path: Path) -> None:
    for file in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / file).touch()
    assert usable_gpus({}, tmp_path) == ["2", "10"]
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": "GPU-ab, 3"}, tmp_path) == ["GPU-ab", "3"]
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []


def test_without_jobs_nothing_can_be_run() -> None:
    with pytest.raises(ValueError, match="jobs is 0"):
        RunOptions(jobs=0)


def test_what_a_child_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid.txt"
    with Children() as children:
        words = ["sh", "-c", f"sleep 47 & echo $! > {note}; exit 1"]
        process = children.start(words, os.environ, tmp_path / "log.txt")
        wait_for(lambda: children.poll(process) is not None)
        wait_for(lambda: not is_alive(int(note.read_text())))
