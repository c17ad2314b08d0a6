"""Which studies are prepared already, from the same files, and whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from brainmvp_lightning.preprocessing.preparation import fingerprint
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.manifest import portable_path
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.errors import DamagedFrameError
from brainmvp_lightning.volumes.frame import read_frame
from brainmvp_lightning.volumes.records import CachedScan, study_from_json
from brainmvp_lightning.volumes.writer import CacheWriter

RETRY = "retry"  # marks the journal's entry of a study that the next run tries again


@dataclass(frozen=True)
class Todo:
    """What is left to do.

    Args:
        studies: Those that are not prepared, in order.
        num_checked: Stored volumes whose bytes were read.
        num_damaged: Those among them that are not what was written.
    """

    studies: list[Study]
    num_checked: int = 0
    num_damaged: int = 0


def find_todo(
    studies: Sequence[Study], writer: CacheWriter, recipe: Recipe, *, verify: bool, workers: int
) -> Todo:
    """Find the studies whose files changed, appeared or vanished, or whose frames are not whole.

    Args:
        studies: Candidates.
        writer: Knows what is finished.
        recipe: Says which files matter.
        verify: Read every frame; otherwise only their lengths are looked at.
        workers: Threads that read.
    """
    current = [
        study
        for study in studies
        if is_current(study, writer, recipe) and not writer.finished[study.id].get(RETRY)
    ]
    names = {study.id for study in current}
    todo = [study for study in studies if study.id not in names]
    if not verify:
        return Todo(todo)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        counts = list(pool.map(partial(_count_damage, writer=writer), current))
    damaged = {study.id for study, (_, bad) in zip(current, counts, strict=True) if bad}
    todo = [study for study in studies if study.id not in names or study.id in damaged]
    return Todo(todo, sum(count for count, _ in counts), sum(bad for _, bad in counts))


def is_current(study: Study, writer: CacheWriter, recipe: Recipe) -> bool:
    """Tell whether a study is finished, from the same files, with frames of the right length."""
    entry = writer.finished.get(study.id)
    if entry is None or entry["inputs"] != inputs_of(study, writer.root, recipe):
        return False
    for frame in _frames(entry):
        size = fingerprint(writer.root / frame.file)
        if size is None or size[0] != frame.num_bytes:
            return False
    return True


def inputs_of(study: Study, root: Path, recipe: Recipe) -> dict[str, Any]:
    """Return place, size and time of all files that decide about a study, as plain JSON values."""
    inputs: dict[str, Any] = {}
    for scan in study.scans:
        inputs[scan.modality] = _state(scan.path, root)
        if scan.volumes:
            inputs[scan.modality].append(list(scan.volumes))
        if scan.brain_mask is not None and recipe.brain_mask == "file":
            inputs[f"brain mask of {scan.modality}"] = _state(scan.brain_mask, root)
    if study.label is not None:
        inputs["label"] = _state(study.label, root)
    return inputs


def _state(path: Path, root: Path) -> list[Any]:
    return [portable_path(path, root), fingerprint(path)]


def _count_damage(study: Study, writer: CacheWriter) -> tuple[int, int]:
    frames = list(_frames(writer.finished[study.id]))
    return len(frames), sum(not _is_whole(writer.root, frame) for frame in frames)


def _is_whole(root: Path, frame: CachedScan) -> bool:
    try:
        read_frame(root / frame.file, frame.digest)
    except DamagedFrameError:
        return False
    return True


def _frames(entry: dict[str, Any]) -> Iterator[CachedScan]:
    if entry["cached"] is not None:
        stored = study_from_json(entry["cached"])
        yield from stored.scans
        if stored.label is not None:
            yield stored.label
