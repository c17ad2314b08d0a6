"""``brainmvp sweep run``: from a file to tables, with a stand-in for the trainer."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.commands import sweep_trials
from brainmvp_lightning.commands.sweep import main
from tests.sweeps.making import RATE, ROOT, write_program, write_sweep

# Starts the command without reading configurations, which needs torch: the parser says yes.
WITHOUT_PARSER = """
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from jsonargparse import Namespace
from brainmvp_lightning.sweeps.files import read_sweep
trainer = Namespace(default_root_dir="runs/x", logger=Namespace(class_path="wandb"))
config = Namespace(trainer=trainer)
lint = ModuleType("lint")
lint.Findings = SimpleNamespace
lint.lint = lambda path: (read_sweep(path), SimpleNamespace(faults=[], notes=[], config=config))
reader = ModuleType("reader")
reader.read_trial = lambda sweep, values: (config.clone(), "")
reader.check_here = lambda config: None
sys.modules["brainmvp_lightning.commands.sweep_lint"] = lint
sys.modules["brainmvp_lightning.commands.sweep_reader"] = reader
from brainmvp_lightning.commands.sweep import main
sys.exit(main(sys.argv[2:], Path(sys.argv[1])))
"""

ONE_EPOCH = {"trainer.max_epochs": {"value": 1}}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    programs = write_program(tmp_path)

    def call(*words: str, **changes: Any) -> int:
        file = write_sweep(tmp_path, **changes)
        words = ("run", str(file), "--local", "--runs", str(tmp_path / "runs"), *words)
        return main(list(words), programs)

    return call


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "runs" / "trials.csv").read_text().splitlines()))


def starts(folder: Path, number: int) -> list[str]:
    return (folder / "runs" / f"trial_{number:04d}" / "starts.txt").read_text().splitlines()


def test_help_and_wrong_calls(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--help"]) == 0
    assert "brainmvp sweep run FILE --local --count N" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["rum"]) == 2
    assert "unknown action 'rum'; did you mean 'run'?" in capsys.readouterr().err
    assert main(["run", str(write_sweep(tmp_path))]) == 2
    assert "give --local to run" in capsys.readouterr().err
    assert main(["lint", str(tmp_path / "none.yaml")]) == 2
    assert "there is no such file (there are " in capsys.readouterr().err


def test_a_grid_is_run_once_and_ends_in_tables(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--jobs", "2") == 0
    said = capsys.readouterr().out
    assert "[2/3] trial_0001: learning_rate 0.001" in said
    assert [row["trial"] for row in rows(tmp_path)] == ["trial_0001", "trial_0002", "trial_0000"]
    assert rows(tmp_path)[0]["val/cross_modal_mse"] == "0.01"
    assert (tmp_path / "runs" / "trials.png").stat().st_size > 0
    values = json.loads((tmp_path / "runs" / "trial_0001" / "values.json").read_text())
    assert values == {RATE: 0.001, "trainer.max_epochs": 1}
    assert f"-c {tmp_path}/runs/trial_0001/values.json" in said
    assert run() == 0
    assert "trial_0001: " not in capsys.readouterr().out.partition("| Trial")[0]
    assert starts(tmp_path, 1)[0].startswith("fresh")
    assert len(starts(tmp_path, 1)) == 1


@pytest.mark.slow
def test_failures_are_named_counted_and_can_be_tried_again(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {
        RATE: {"value": 0.002},
        "seed_everything": {"values": [13, 1, 14, 15]},
        "trainer.max_epochs": {"value": 1},
    }
    assert run(parameters=parameters) == 1
    told = capsys.readouterr()
    assert "3 of 4 failed: trial_0000, trial_0002, trial_0003; run the same command" in told.err
    assert "ended with code 3; the end of" in told.out
    assert "\n    the loss is NaN" in told.out
    reasons = [row["reason"] for row in rows(tmp_path)]
    assert reasons == [
        "",
        "ended with code 3",
        "logged no val/cross_modal_mse (it logged val/total)",
        "val/cross_modal_mse is nan",
    ]
    assert run("--retry_failed", parameters=parameters) == 1
    assert [len(starts(tmp_path, number)) for number in range(4)] == [1, 1, 1, 1]
    assert (tmp_path / "runs" / "trial_0000.failed0" / "starts.txt").exists()


def test_a_sweep_whose_first_trials_all_fail_is_not_gone_on_with(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {RATE: {"values": [0.1, 0.2]}, "seed_everything": {"value": 13}}
    parameters["trainer.max_epochs"] = {"values": [1, 2, 3, 4]}
    assert run(parameters=parameters) == 1
    assert "3 of 3 failed: trial_0000, trial_0001, trial_0002; all so far, so the other 5" in (
        capsys.readouterr().err
    )


def test_calls_that_make_no_sense_are_refused(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(method="random") == 2
    assert "method random has no end; give --count" in capsys.readouterr().err
    assert run("--count", "0") == 2
    assert run("--count", "2", run_cap=1) == 0
    assert len(rows(tmp_path)) == 1
    assert run("--count", "2", "--seed", "1") == 1
    assert "holds trials of a sweep with other seed" in capsys.readouterr().err


def test_a_trial_that_is_behind_is_stopped(
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_trials, "_LOOK_S", 0.05)
    rates = {"values": [0.001, 0.002, 0.5]}
    parameters = {RATE: rates, "trainer.max_epochs": {"value": 4}}
    bands = {"type": "hyperband", "min_iter": 1, "eta": 2}
    slow = tmp_path / "slow"
    monkeypatch.setenv("STAND_IN_WAITS", str(slow))

    def say(text: str) -> None:  # the third trial is slow enough to be stopped
        if "trial_0001: finished" in text:
            slow.mkdir()

    monkeypatch.setattr("brainmvp_lightning.commands.sweep._say", say)
    assert run(parameters=parameters, early_terminate=bands) == 0
    assert [(row["state"], row["validations"]) for row in rows(tmp_path)] == [
        ("finished", "4"),
        ("finished", "4"),
        ("stopped", "1"),
    ]


def test_gpus_are_shared_out(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    parameters = {RATE: {"values": [0.001, 0.5]}, "trainer.max_epochs": {"value": 1}}
    assert run("--jobs", "2", parameters=parameters) == 0
    assert [starts(tmp_path, number) for number in (0, 1)] == [["fresh 4 3"], ["fresh 6 3"]]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_the_same_command_goes_on_after_a_kill(tmp_path: Path, number: int) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    programs, file = write_program(tmp_path), write_sweep(tmp_path)
    words = [sys.executable, "-c", WITHOUT_PARSER, str(programs), "run", str(file), "--local"]
    words += ["--runs", str(tmp_path / "runs"), "--jobs", "2"]
    environment = {**os.environ, "STAND_IN_WAITS": str(slow)}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: all((tmp_path / f"runs/trial_000{n}/starts.txt").exists() for n in (0, 1)))
    process.send_signal(number)
    assert process.wait(30) == (143 if number == signal.SIGTERM else -number)
    slow.rmdir()
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trial_0000: goes on from its last checkpoint" in done.stdout
    resumed = [[line.split()[0] for line in starts(tmp_path, number)] for number in range(3)]
    assert resumed == [["fresh", "resumed"], ["fresh", "resumed"], ["fresh"]]
    assert {row["state"] for row in rows(tmp_path)} == {"finished"}


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_trial_that_the_parser_refuses_has_failed_and_the_others_go_on(
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    read = sweep_trials.read_trial

    def refuse(sweep: Any, values: dict[str, Any]) -> Any:
        return (None, "too fast") if values[RATE] == 0.003 else read(sweep, values)

    monkeypatch.setattr(sweep_trials, "read_trial", refuse)
    for _ in range(2):  # the second call finds nothing to do, and does not stumble either
        assert run(parameters={RATE: {"values": [0.003, 0.001]}, **ONE_EPOCH}) == 1
        assert [row["state"] for row in rows(tmp_path)] == ["finished", "failed"]
    assert "failed: its values are refused together: too fast" in capsys.readouterr().out


def test_jobs_at_once_have_cores_of_their_own(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    start = sweep_trials.Children.start

    def note(self: Any, words: Any, environment: Any, log: Path, cores: Any = ()) -> Any:
        given.append(list(cores))
        return start(self, words, environment, log)

    monkeypatch.setattr(sweep_trials, "core_numbers", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(sweep_trials.Children, "start", note)
    assert run("--jobs", "2", parameters={RATE: {"values": [0.003, 0.001]}, **ONE_EPOCH}) == 0
    assert given == [[0, 1], [2, 3]]


def test_the_machine_is_asked_where_trials_run_and_not_where_a_file_is_checked(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    devices = {"trainer.accelerator": {"value": "cuda"}, "trainer.devices": {"value": 64}}
    parameters = {RATE: {"values": [0.001]}, **devices}
    assert main(["lint", str(write_sweep(tmp_path, parameters=parameters))]) == 0
    assert run(parameters=parameters) == 2
    assert "GPU" in capsys.readouterr().err
