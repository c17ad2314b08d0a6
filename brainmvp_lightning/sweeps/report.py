"""What a sweep leaves: tables, a picture, and the command of the best trial."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.sweeps.macros import expand
from brainmvp_lightning.sweeps.picture import draw_trials
from brainmvp_lightning.sweeps.tables import write_csv, write_markdown
from brainmvp_lightning.sweeps.trials import Trial, rank
from brainmvp_lightning.volumes.atomic import write_bytes

VALUES_FILE = "values.json"


def write_report(sweep: Sweep, folder: Path, trials: Sequence[Trial]) -> tuple[str, list[Path]]:
    """Write ``trials.csv``, ``trials.md`` and, if any trial has a metric, ``trials.png``.

    Returns:
        What the Markdown file says, and the files.

    Raises:
        OSError: If one cannot be written.
    """
    best = best_trial(sweep, trials)
    text = write_markdown(sweep, trials)
    if best is not None:
        text += f"\nThe best one, {best.name}, again:\n\n    {best_command(sweep, folder, best)}\n"
    contents = {"trials.csv": write_csv(sweep, trials).encode(), "trials.md": text.encode()}
    if best is not None:
        contents["trials.png"] = draw_trials(sweep, trials)
    for name, content in contents.items():
        write_bytes(folder / name, content)
    return text, [folder / name for name in contents]


def best_trial(sweep: Sweep, trials: Sequence[Trial]) -> Trial | None:
    """Return the best of the trials that ran to their end, or else of those stopped early."""
    ranked = rank(trials, is_higher_better=sweep.metric.is_higher_better)
    return ranked[0] if ranked and ranked[0].metric is not None else None


def best_command(sweep: Sweep, folder: Path, trial: Trial) -> str:
    """Return the call of a trial, with a run folder of its own beside the trials."""
    values = folder / trial.name / VALUES_FILE
    words = expand(sweep.command, sweep.program, trial.values, values, os.environ)
    words += ["--trainer.default_root_dir", str(folder / "best")]
    return shlex.join(words[1:] if words[0] == "/usr/bin/env" else words)
