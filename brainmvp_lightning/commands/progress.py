"""Progress of a long job: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brainmvp_lightning.preprocessing.preparation import Prepared

PLAIN_STEPS = 10  # lines of progress where there is no terminal


class Report:
    """Counts what is done; call it with (done, total).

    Args:
        unit: What is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._first: tuple[float, int] | None = None
        self._scans = 0
        self._set_aside: int | None = None

    def watch(self, prepared: Prepared) -> None:
        """Count the scans of a study, and the files that were set aside."""
        self._scans += len(prepared.study.scans) if prepared.study is not None else 0
        failed = sum(not problem.is_handled for problem in prepared.problems)
        self._set_aside = (self._set_aside or 0) + failed

    def __call__(self, done: int, total: int) -> None:
        """Show how far the job is."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        started, before = self._first
        seconds = max(now - started, 1e-3)
        rate = (done - before) / seconds
        text = f"{rate:.1f} {self._unit}/s"
        if self._set_aside is not None:
            text += f", {self._scans / seconds:.1f} scans/s, {self._set_aside} set aside"
        self.show(done, total, rate, text)

    def show(self, done: int, total: int, rate: float, text: str) -> None:
        """Put the numbers somewhere.

        Args:
            done: Units done.
            total: Units in all.
            rate: Units per second.
            text: Rates and failures.
        """


class _Bar(Report):
    def __init__(self, progress: Progress, title: str, unit: str) -> None:
        super().__init__(unit)
        self._progress = progress
        self._task = progress.add_task(title, total=None, rate="")

    def show(self, done: int, total: int, rate: float, text: str) -> None:
        del rate  # the bar counts the time left by itself
        self._progress.update(self._task, completed=done, total=total, rate=text)


class _Lines(Report):
    def __init__(self, console: Console, title: str, unit: str) -> None:
        super().__init__(unit)
        self._console = console
        self._title = f"{title}: {{}} of {{}} {unit}, "
        self._next = 0

    def show(self, done: int, total: int, rate: float, text: str) -> None:
        if done < self._next and done < total:
            return
        self._next = done + max(1, -(-total // PLAIN_STEPS))
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        self._console.print(f"{self._title.format(done, total)}{text}{left}", markup=False)


@contextmanager
def show_progress(console: Console, title: str, unit: str) -> Iterator[Report]:
    """Show a bar with rate and time left on a terminal, else a line for every tenth."""
    if not console.is_terminal:
        yield _Lines(console, title, unit)
        return
    columns = (
        TextColumn(f"{title:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield _Bar(bar, title, unit)
