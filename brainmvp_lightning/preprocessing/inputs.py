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
from brainmvp_lightning.volumes.errors import CacheError, DamagedFrameError
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

    Raises:
        CacheError: If most of the files that were there once are missing.
    """
    inputs = {study.id: inputs_of(study, writer.root, recipe) for study in studies}
    _refuse_a_missing_drive(inputs, writer)
    current = [
        study
        for study in studies
        if _is_current(study, inputs[study.id], writer) and not writer.finished[study.id].get(RETRY)
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
    return _is_current(study, inputs_of(study, writer.root, recipe), writer)


def _is_current(study: Study, inputs: dict[str, Any], writer: CacheWriter) -> bool:
    entry = writer.finished.get(study.id)
    if entry is None or not _are_same(entry["inputs"], inputs):
        return False
    for frame in _frames(entry):
        size = fingerprint(writer.root / frame.file)
        if size is None or size[0] != frame.num_bytes:
            return False
    return True


def inputs_of(study: Study, root: Path, recipe: Recipe) -> dict[str, Any]:
    """Return place, size and time of all files that decide about a study, as plain JSON values."""
    inputs: dict[str, Any] = {
        name: [portable_path(path, root), fingerprint(path)]
        for name, path in files_of(study, recipe).items()
    }
    for scan in study.scans:
        if scan.volumes:
            inputs[scan.modality].append(list(scan.volumes))
    return inputs


def files_of(study: Study, recipe: Recipe) -> dict[str, Path]:
    """Return all files of a study that the recipe makes use of, by what they are."""
    files = {scan.modality: scan.path for scan in study.scans}
    if recipe.brain_mask == "file":
        for scan in study.scans:
            if scan.brain_mask is not None:
                files[f"brain mask of {scan.modality}"] = scan.brain_mask
    if study.label is not None:
        files["label"] = study.label
    return files


def _are_same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Tell whether the files are the same, even if the cache folder was moved meanwhile."""
    return old.keys() == new.keys() and all(
        old[name][1:] == new[name][1:] and _is_same_place(old[name][0], new[name][0])
        for name in new
    )


def _is_same_place(first: str, second: str) -> bool:
    # Paths relative to the cache begin otherwise when it has moved. They still have to end alike:
    # two scans of one patient may well have the same size and time.
    if first == second:
        return True
    short, long = sorted((_below(first), _below(second)), key=len)
    return long[len(long) - len(short) :] == short


def _below(place: str) -> tuple[str, ...]:
    return tuple(part for part in Path(place).parts if part not in ("..", "/"))


def _refuse_a_missing_drive(inputs: dict[str, dict[str, Any]], writer: CacheWriter) -> None:
    """Refuse to withdraw most of a cache because its files cannot be seen just now."""
    seen = [
        (place, inputs[study][name][1])
        for study, entry in writer.finished.items()
        for name, (place, state, *_) in entry["inputs"].items()
        if state is not None and name in inputs.get(study, {})
    ]
    missing = [place for place, state in seen if state is None]
    if 2 * len(missing) > len(seen):
        raise CacheError(
            f"{len(missing)} of {len(seen)} files that cache {writer.root} was made of are not "
            f"there any more, such as {missing[0]}; is a drive not mounted? Mount it and run the "
            "same command again, or take the studies out of the source"
        )


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
