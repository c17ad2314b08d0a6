"""Where configurations differ, between runs of the same task."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from brainmvp_lightning.reports.configuration import differences, flatten, task_of
from brainmvp_lightning.reports.markup import swatch, table
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import Run


def write_differences(runs: Sequence[Run], privacy: Privacy) -> str:
    """Return a table of the keys that differ for each task with several runs."""
    tasks: dict[str, list[tuple[int, Run]]] = {}
    for number, run in enumerate(runs):
        if run.config:
            tasks.setdefault(task_of(run.config), []).append((number, run))
    compared = {task: chosen for task, chosen in tasks.items() if len(chosen) > 1}
    return "".join(
        (f"<h3>Runs of {escape(task)}</h3>" if len(tasks) > 1 else "") + _compare(chosen, privacy)
        for task, chosen in compared.items()
    )


def _compare(runs: Sequence[tuple[int, Run]], privacy: Privacy) -> str:
    differing = differences([flatten(run.config) for _, run in runs])
    if not differing:
        return "<p>The configurations of these runs are the same.</p>"
    heads = ("key that differs", *(f"{swatch(i)}{escape(run.name)}" for i, run in runs))
    rows = [
        (f"<code>{escape(key)}</code>", *(_cell(value, privacy) for value in values))
        for key, values in differing.items()
    ]
    return table(heads, rows, "facts")


def _cell(value: str | None, privacy: Privacy) -> str:
    return '<span class="hint">not there</span>' if value is None else escape(privacy.text(value))
