"""Runs the cells of an experiment as processes, some at a time, and goes on after failures."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainmvp_lightning.experiments.cells import (
    LAST_CHECKPOINT,
    OVERRIDES_FILE,
    Cell,
    Step,
    fingerprint,
)
from brainmvp_lightning.experiments.children import Children, raise_on_sigterm
from brainmvp_lightning.experiments.environment import (
    core_numbers,
    job_cores,
    job_environment,
    usable_gpus,
)
from brainmvp_lightning.experiments.markers import (
    Marker,
    compare,
    move_away,
    read_marker,
    refuse_changes,
    steps_left,
    write_marker,
)
from brainmvp_lightning.experiments.overrides import dump
from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.volumes.lock import lock_folder

PROGRAM = (sys.executable, "-m", "brainmvp_lightning")
POLL_S = 0.05
TAIL_LINES = 12
OLD_CHECKPOINT = "before.ckpt"
_TAIL_BYTES = 8192


@dataclass(frozen=True)
class RunOptions:
    """How cells are run.

    Attributes:
        jobs: How many at once.
        program: Words before those of a step.
        rerun: Whether cells that another plan made are moved away and done anew.
        say: Told what happens, a sentence at a time.
    """

    jobs: int = 1
    program: Sequence[str] = PROGRAM
    rerun: bool = False
    say: Callable[[str], None] = logging.getLogger(__name__).info

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs is {self.jobs}; give a number of 1 or more")


@dataclass
class Outcome:
    """What became of the cells, by name.

    Attributes:
        finished: Done now.
        skipped: Done before.
        failed: Ended by an error, with the sentence about it.
        blocked: Not begun, for what they need has failed.
    """

    finished: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)


def run_cells(cells: Sequence[Cell], folder: Path, options: RunOptions) -> Outcome:
    """Run all cells that are not finished.

    A cell that was interrupted goes on with the step it was at, a training from its last
    checkpoint.

    Args:
        cells: Those that others need come first.
        folder: That of the experiment; no other process may work on it.
        options: How they are run.

    Raises:
        CacheError: If another process works on the folder.
        ChangedPlanError: If folders of cells hold runs of another plan, unless they are done anew.
        KeyboardInterrupt: By Ctrl-C, after the children have ended.
        StoppedError: By SIGTERM, likewise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder), raise_on_sigterm():
        standing = compare(cells)
        if not options.rerun:
            refuse_changes(standing.changed)
        for cell in cells:
            if cell.name in standing.changed:
                move_away(cell)
        with Children() as children:
            return _Schedule(cells, standing.descriptions, options, children).run()


@dataclass
class _Job:
    cell: Cell
    slot: int
    left: list[Step]
    process: subprocess.Popen[bytes] | None = None
    log_start: int = 0
    is_resumed: bool = False

    @property
    def log(self) -> Path:
        return self.cell.folder / f"{self.left[0].name}.log"


class _Schedule:
    def __init__(
        self,
        cells: Sequence[Cell],
        descriptions: Mapping[str, Mapping[str, Any]],
        options: RunOptions,
        children: Children,
    ) -> None:
        self.options = options
        self.children = children
        self.descriptions = descriptions
        self.total = len(cells)
        self.outcome = Outcome()
        self.waiting = list(cells)
        self.running: dict[int, _Job] = {}
        self.cores, self.gpus = core_numbers(), usable_gpus(os.environ)

    def run(self) -> Outcome:
        while self.waiting or self.running:
            self._start_what_can()
            for job in list(self.running.values()):
                code = self.children.poll(job.process) if job.process else None
                if code is not None:
                    self._after_step(job, code)
            if self.running:
                time.sleep(POLL_S)
        return self.outcome

    def _start_what_can(self) -> None:
        outcome = self.outcome
        for cell in list(self.waiting):
            if any(name in outcome.failed or name in outcome.blocked for name in cell.needs):
                self.waiting.remove(cell)
                outcome.blocked.append(cell.name)
                self._say(f"{cell.name}: not run, for {', '.join(cell.needs)} failed")
                continue
            is_ready = all(name in outcome.finished + outcome.skipped for name in cell.needs)
            if is_ready and len(self.running) < self.options.jobs:
                self.waiting.remove(cell)
                self._begin(cell)

    def _begin(self, cell: Cell) -> None:
        marker = read_marker(cell)
        left = list(steps_left(cell, marker))
        if not left:
            self.outcome.skipped.append(cell.name)
            self._say(f"{cell.name}: finished before")
            return
        description = self.descriptions[cell.name]
        cell.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(cell.folder / OVERRIDES_FILE, dump(cell.overrides).encode())
        done = tuple(step.name for step in cell.steps[: len(cell.steps) - len(left)])
        write_marker(cell, Marker(description, fingerprint(description), done))
        slot = min(set(range(self.options.jobs)) - set(self.running))
        job = _Job(cell, slot, left)
        self.running[slot] = job
        self._start_step(job)

    def _start_step(self, job: _Job) -> None:
        step = job.left[0]
        words = list(step.words)
        job.is_resumed = step.can_resume and (job.cell.folder / LAST_CHECKPOINT).exists()
        if job.is_resumed:
            words += ["--ckpt_path", "last"]
        note = " (goes on from its last checkpoint)" if job.is_resumed else ""
        self._say(f"{job.cell.name}: {step.name}{note}")
        with job.log.open("ab") as log:
            log.write(f"$ brainmvp {' '.join(words)}\n".encode())
            job.log_start = log.tell()
        jobs = self.options.jobs
        environment = job_environment(os.environ, job.slot, jobs, len(self.cores), self.gpus)
        job.process = self.children.start(
            [*self.options.program, *words],
            environment,
            job.log,
            job_cores(job.slot, jobs, self.cores),
        )

    def _after_step(self, job: _Job, code: int) -> None:
        step = job.left[0]
        if not code and not step.leaves.exists() and job.is_resumed:
            self._start_afresh(job)
            return
        if code or not step.leaves.exists():
            self._fail(job, code)
            return
        marker = read_marker(job.cell)
        assert marker is not None
        write_marker(job.cell, replace(marker, done=(*marker.done, step.name)))
        job.left.pop(0)
        if job.left:
            self._start_step(job)
            return
        del self.running[job.slot]
        self.outcome.finished.append(job.cell.name)
        self._say(f"{job.cell.name}: finished")

    def _start_afresh(self, job: _Job) -> None:
        """Do a step anew whose checkpoint is at its end already, but without what it leaves.

        It was killed between the two, and resuming a finished training does nothing.
        """
        step, folder = job.left[0], job.cell.folder
        (folder / LAST_CHECKPOINT).replace(folder / OLD_CHECKPOINT)
        self._say(
            f"{job.cell.name}: {step.name} was at its end but left no {step.leaves}; it starts "
            f"afresh, its checkpoint is now {folder / OLD_CHECKPOINT}"
        )
        self._start_step(job)

    def _fail(self, job: _Job, code: int) -> None:
        step = job.left[0]
        reason = _reason(code) if code else f"left no {step.leaves}"
        lines = _tail(job.log, job.log_start)
        text = f"{job.cell.name}: {step.name} {reason}; the end of {job.log}:"
        text += "".join(f"\n    {line}" for line in lines or ["(nothing)"])
        del self.running[job.slot]
        self.outcome.failed[job.cell.name] = text
        self._say(text)

    def _say(self, text: str) -> None:
        outcome = self.outcome
        settled = sum(map(len, (outcome.finished, outcome.skipped, outcome.failed)))
        settled += len(outcome.blocked)
        self.options.say(f"[{settled}/{self.total}] {text}")


def _reason(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"was ended by signal {name}"
    return f"ended with code {code}"


def _tail(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    # Progress bars write over their own line.
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-TAIL_LINES:]
