"""Runs the trials of a sweep on this machine, some at a time, and goes on after failures."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brainmvp_lightning.commands.sweep_folder import RUN_ID, SWEEP_ID, move_run
from brainmvp_lightning.commands.sweep_reader import read_trial
from brainmvp_lightning.experiments.children import GRACE_S, Children, raise_on_sigterm
from brainmvp_lightning.experiments.environment import (
    core_numbers,
    job_cores,
    job_environment,
    usable_gpus,
)
from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.sweeps.history import logged_names, read_history
from brainmvp_lightning.sweeps.macros import expand, write_values
from brainmvp_lightning.sweeps.report import VALUES_FILE
from brainmvp_lightning.sweeps.search import next_trial
from brainmvp_lightning.sweeps.tables import short_names, write_value
from brainmvp_lightning.sweeps.trials import FAILED, FINISHED, RUNNING, STOPPED, Trial, Trials
from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.volumes.lock import lock_folder

PLACE_FILE = "place.yaml"
LOG_FILE = "fit.log"
MOST_FIRST_FAILURES = 3
"""So many failures and no success: the sweep itself is at fault. wandb's agent thinks alike."""

_POLL_S = 0.05
_LOOK_S = 0.5
_TAIL_LINES = 8
_TAIL_BYTES = 8192


@dataclass(frozen=True)
class SweepOptions:
    """How trials are run.

    Attributes:
        count: Trials in all, those of earlier calls included; None: a grid is gone through.
        jobs: How many at once.
        seed: Fixes what is drawn.
        retry_failed: Whether failed trials of earlier calls are done anew.
        programs: Folder that is searched first for the sweep's program.
        say: Told what happens, a sentence at a time.
    """

    count: int | None
    jobs: int
    seed: int
    retry_failed: bool
    programs: Path
    say: Callable[[str], None]


def run_trials(sweep: Sweep, folder: Path, options: SweepOptions) -> list[Trial]:
    """Run trials until there are as many as asked for.

    A trial that was interrupted goes on from its last checkpoint; finished ones are not repeated.

    Returns:
        All trials of the folder.

    Raises:
        CacheError: If another process works on the folder.
        ChangedSweepError: If it holds trials of another sweep.
        KeyboardInterrupt: By Ctrl-C, after the children have ended.
        StoppedError: By SIGTERM, likewise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder), raise_on_sigterm():
        trials = Trials(folder, sweep, options.seed)
        with Children() as children:
            _Schedule(sweep, folder, options, trials, children).run()
    return trials.items


@dataclass
class _Job:
    trial: Trial
    slot: int
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    started: float
    stopped: float | None = None
    looked: float = 0.0


class _Schedule:
    def __init__(
        self,
        sweep: Sweep,
        folder: Path,
        options: SweepOptions,
        trials: Trials,
        children: Children,
    ) -> None:
        self.sweep, self.folder, self.options = sweep, folder, options
        self.trials, self.children = trials, children
        states = (RUNNING, FAILED) if options.retry_failed else (RUNNING,)
        self.waiting = [trial for trial in trials.items if trial.state in states]
        self.running: dict[int, _Job] = {}
        self.num_failed_now = 0
        self.cores, self.gpus = core_numbers(), usable_gpus(os.environ)

    def run(self) -> None:
        while True:
            while len(self.running) < self.options.jobs:
                trial = self._next()
                if trial is None:
                    break
                self._start(trial)
            if not self.running:
                return
            for job in list(self.running.values()):
                code = self.children.poll(job.process)
                if code is not None:
                    self._finish(job, code)
                elif self.sweep.bands is not None:
                    self._look_after(job)
            time.sleep(_POLL_S)

    def _next(self) -> Trial | None:
        """Return the trial that comes next: interrupted ones first; None if there is none."""
        if self._is_hopeless():
            return None
        if self.waiting:
            return self.waiting.pop(0)
        items, count = self.trials.items, self.options.count
        if count is not None and len(items) >= count:
            return None
        trial = next_trial(self.sweep, items, self.options.seed)
        if trial is not None:
            items.append(trial)
        return trial

    def _is_hopeless(self) -> bool:
        none_done = not any(one.state in (FINISHED, STOPPED) for one in self.trials.items)
        return none_done and self.num_failed_now >= MOST_FIRST_FAILURES

    def _start(self, trial: Trial) -> None:
        folder = self.folder / trial.name
        if trial.state == FAILED:
            _move_away(folder)
            trial.state, trial.reason, trial.history = RUNNING, "", []
        folder.mkdir(parents=True, exist_ok=True)
        self.trials.save()
        try:
            words = self._words(trial, folder)
        except ValueError as error:
            self._refuse(trial, str(error))
            return
        goes_on = "--ckpt_path" in words[-2:]
        self._say(trial, "goes on from its last checkpoint" if goes_on else self._readable(trial))
        log = folder / LOG_FILE
        with log.open("ab") as file:
            file.write(f"$ {shlex.join(words)}\n".encode())
            start = file.tell()
        slot = min(set(range(self.options.jobs)) - set(self.running))
        cores = job_cores(slot, self.options.jobs, self.cores)
        process = self.children.start(words, self._environment(slot), log, cores)
        self.running[slot] = _Job(trial, slot, process, log, start, time.monotonic())

    def _refuse(self, trial: Trial, reason: str) -> None:
        """Note that a trial cannot be started; the others go on."""
        trial.state, trial.reason = FAILED, reason
        self.num_failed_now += 1
        self.trials.save()
        self._say(trial, f"failed: {reason}")

    def _words(self, trial: Trial, folder: Path) -> list[str]:
        """Write the files of a trial, and return its command."""
        values = folder / VALUES_FILE
        write_bytes(values, write_values(trial.values).encode())
        write_bytes(folder / PLACE_FILE, yaml.safe_dump(_place(self.sweep, trial, folder)).encode())
        words = expand(self.sweep.command, self.sweep.program, trial.values, values, os.environ)
        words += ["-c", str(folder / PLACE_FILE)]
        if (folder / "checkpoints" / "last.ckpt").exists():
            words += ["--ckpt_path", "last"]
        return words

    def _environment(self, slot: int) -> dict[str, str]:
        options = self.options
        own = job_environment(os.environ, slot, options.jobs, len(self.cores), self.gpus)
        for name in (SWEEP_ID, RUN_ID):  # of an agent that may have started us
            own.pop(name, None)
        own.setdefault("WANDB_MODE", "offline")
        own["PATH"] = os.pathsep.join([str(options.programs), own.get("PATH", "")])
        return own

    def _look_after(self, job: _Job) -> None:
        """Stop a trial that is behind; kill it if it does not end."""
        now = time.monotonic()
        if job.stopped is not None:
            if now - job.stopped > GRACE_S:
                _kill(job.process)
            return
        if now - job.looked < _LOOK_S:
            return
        job.looked = now
        own = read_history(self.folder / job.trial.name, self.sweep.metric.name)
        is_news = len(own) > len(job.trial.history)
        job.trial.history = own
        bands = self.sweep.bands
        if not is_news or bands is None:
            return
        others = [one.history for one in self.trials.items if one is not job.trial]
        if bands.falls_behind(own, others, is_higher_better=self.sweep.metric.is_higher_better):
            job.stopped = now
            job.process.terminate()

    def _finish(self, job: _Job, code: int) -> None:
        trial, folder = job.trial, self.folder / job.trial.name
        del self.running[job.slot]
        trial.seconds += time.monotonic() - job.started
        trial.history = read_history(folder, self.sweep.metric.name)
        trial.reason = self._reason(trial, code, folder, was_stopped=job.stopped is not None)
        if trial.reason:
            trial.state = FAILED
            self.num_failed_now += 1
            tail = "".join(f"\n    {line}" for line in _last_lines(job.log, job.log_start))
            self._say(trial, f"failed: {trial.reason}; the end of {job.log}:{tail}")
        else:
            trial.state = FINISHED if job.stopped is None else STOPPED
            what = "finished" if job.stopped is None else "stopped early"
            self._say(trial, f"{what}, {self.sweep.metric.name} {trial.history[-1]:.5g}")
        self.trials.save()

    def _reason(self, trial: Trial, code: int, folder: Path, *, was_stopped: bool) -> str:
        """Return why a trial has failed, nothing if it has not."""
        if code and not was_stopped:
            return f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        metric = self.sweep.metric.name
        if not trial.history:
            names = [name for name in logged_names(folder) if name.startswith("val/")]
            return f"logged no {metric} (it logged {', '.join(names) or 'nothing in validation'})"
        return "" if math.isfinite(trial.history[-1]) else f"{metric} is {trial.history[-1]}"

    def _readable(self, trial: Trial) -> str:
        short = short_names([one.name for one in self.sweep.parameters if not one.is_fixed])
        values = [f"{text} {write_value(trial.values[name])}" for name, text in short.items()]
        return ", ".join(values) or "begins"

    def _say(self, trial: Trial, text: str) -> None:
        total = "" if self.options.count is None else f"/{self.options.count}"
        self.options.say(f"[{trial.number + 1}{total}] {trial.name}: {text}")


def _place(sweep: Sweep, trial: Trial, folder: Path) -> dict[str, Any]:
    """Return the options that send a trial to its folder.

    Raises:
        ValueError: If its values are refused together.
    """
    config, reason = read_trial(sweep, trial.values)
    if config is None:
        raise ValueError(f"its values are refused together: {reason}")
    before = config.trainer.clone()
    move_run(config.trainer, folder)
    trainer: dict[str, Any] = {"default_root_dir": config.trainer.default_root_dir}
    if before.get("logger") != config.trainer.get("logger"):
        trainer["logger"] = config.trainer.as_dict()["logger"]
    return {"trainer": trainer}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    if os.name != "posix":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):  # it has ended just now
        os.killpg(process.pid, signal.SIGKILL)


def _move_away(folder: Path) -> None:
    number = 0
    while (target := folder.with_name(f"{folder.name}.failed{number}")).exists():
        number += 1
    if folder.exists():
        folder.rename(target)


def _last_lines(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    # Progress bars write over their own line.
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-_TAIL_LINES:] or ["(nothing)"]
