"""Short names of runs that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainmvp_lightning.reports.privacy import safe_parts


def name_runs(folders: Sequence[Path], *, with_paths: bool = False) -> list[str]:
    """Return what a page calls each run: its last folders, as few as keep the runs apart.

    Args:
        folders: Absolute.
        with_paths: Whether folders named after people or machines may be in a name.
    """
    parts = [list(f.parts[1:]) if with_paths else safe_parts(f) for f in folders]
    shared = _shared_start(parts) if len(parts) > 1 else max(len(parts[0]) - 1, 0) if parts else 0
    names = ["/".join(own[shared:] or own[-1:]) or "run" for own in parts]
    return [
        name if names.count(name) == 1 else f"{name} ({number})"
        for number, name in enumerate(names, start=1)
    ]


def _shared_start(parts: Sequence[Sequence[str]]) -> int:
    """Return how many outer folders all runs share, but never all of a run's own."""
    shared = 0
    for level in zip(*(own[:-1] for own in parts), strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return shared
