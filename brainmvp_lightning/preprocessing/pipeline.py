"""Prepare all studies of a manifest: in parallel, resumable, and never stopped by one bad file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from brainmvp_lightning.preprocessing.preparation import Prepared, fingerprint, prepare_study
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.summary import Summary, summarise
from brainmvp_lightning.studies.manifest import Manifest, portable_path
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.errors import CacheError, CacheWriteError, DamagedFrameError
from brainmvp_lightning.volumes.frame import read_frame
from brainmvp_lightning.volumes.lock import lock_folder
from brainmvp_lightning.volumes.records import CachedStudy, study_from_json, study_to_json
from brainmvp_lightning.volumes.write_errors import writing
from brainmvp_lightning.volumes.writer import (
    MANIFEST_FILE,
    NOTES_FILE,
    REJECTED_FILE,
    CacheWriter,
    write_if_changed,
    write_table,
)

__all__ = ["Prepared", "Recipe", "prepare", "prepare_study"]


def prepare(
    manifest: Manifest,
    folder: str | Path,
    recipe: Recipe,
    vocabulary: ModalityVocabulary,
    *,
    workers: int = 2,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Prepare what is not prepared yet, then commit the cache.

    A study is prepared again if one of its files changed, appeared or vanished, or a frame is
    missing. With several workers, a script that calls this needs the usual
    ``if __name__ == "__main__"``.

    Args:
        manifest: Scans with their splits filled in; see `Manifest.with_splits`.
        folder: Cache folder; made if needed.
        recipe: How studies are prepared.
        vocabulary: Order of the modalities.
        workers: Processes.
        verify: Read every stored frame first and prepare damaged ones again.
        progress: Called with (done, total) studies.

    Raises:
        CacheError: If the folder belongs to another recipe or process.
        CacheWriteError: If the disk is full or read-only; finished studies stay valid.
        ManifestError: If the manifest contradicts itself.
    """
    root = Path(folder)
    manifest = manifest.validate()
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with lock_folder(root):
        writer = CacheWriter(root, recipe.to_json(), recipe.hash())
        studies = manifest.studies(modalities=vocabulary.names)
        todo = [study for study in studies if not _is_current(study, writer, verify)]
        if todo:
            writer.reopen()
        _work_off(todo, len(studies), recipe, writer, workers, progress)
        return _commit(studies, len(todo), manifest, recipe, vocabulary, writer)


def _is_current(study: Study, writer: CacheWriter, verify: bool) -> bool:
    entry = writer.finished.get(study.id)
    if entry is None or entry["inputs"] != _inputs(study, writer.root):
        return False
    if entry["cached"] is None:
        return True
    stored = study_from_json(entry["cached"])
    frames = [*stored.scans, *([stored.label] if stored.label else [])]
    for frame in frames:
        path = writer.root / frame.file
        size = fingerprint(path)
        if size is None or size[0] != frame.num_bytes:
            return False
        try:
            if verify:
                read_frame(path, frame.digest)
        except DamagedFrameError:
            return False
    return True


def _inputs(study: Study, root: Path) -> dict[str, Any]:
    files = {scan.modality: scan.path for scan in study.scans}
    if study.label is not None:
        files["label"] = study.label
    return {name: [portable_path(path, root), fingerprint(path)] for name, path in files.items()}


def _work_off(
    todo: list[Study],
    total: int,
    recipe: Recipe,
    writer: CacheWriter,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    done = total - len(todo)
    if progress is not None:
        progress(done, total)
    # Taken before the files are read: a file that changes meanwhile is prepared again.
    inputs = {study.id: _inputs(study, writer.root) for study in todo}
    for study, prepared in _results(todo, recipe, writer.root, workers):
        cached = None if prepared.study is None else study_to_json(prepared.study)
        problems = [asdict(problem) for problem in prepared.problems]
        writer.finish(
            study.id, {"inputs": inputs[study.id], "cached": cached, "problems": problems}
        )
        done += 1
        if progress is not None:
            progress(done, total)


def _results(
    todo: list[Study], recipe: Recipe, root: Path, workers: int
) -> Iterator[tuple[Study, Prepared]]:
    if workers <= 1 or len(todo) <= 1:
        yield from ((study, _prepare_guarded(study, recipe, root)) for study in todo)
        return
    # Spawn, not fork: progress bars run threads, and a forked lock stays locked for ever.
    pool = ProcessPoolExecutor(min(workers, len(todo)), get_context("spawn"), _leave_with_parent)
    try:
        futures = {pool.submit(_prepare_guarded, study, recipe, root): study for study in todo}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool as error:
        raise CacheError(
            "a worker process died, most likely for lack of memory; run the same command with "
            "fewer --workers, it goes on after the studies that are finished"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_guarded(study: Study, recipe: Recipe, root: Path) -> Prepared:
    try:
        return prepare_study(study, recipe, root)
    except CacheWriteError:
        raise
    except Exception as error:  # noqa: BLE001 - one study must not end a long job; it is listed
        reason = f"it could not be prepared ({type(error).__name__}: {error})"
        remedy = "leave the study out, and report this fault"
        return Prepared(None, (Problem(study.id, str(study.scans[0].path), reason, remedy),))


def _leave_with_parent() -> None:
    """End a worker whose parent was killed; otherwise it would wait for work for ever."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _commit(
    studies: list[Study],
    num_new: int,
    manifest: Manifest,
    recipe: Recipe,
    vocabulary: ModalityVocabulary,
    writer: CacheWriter,
) -> Summary:
    entries = [writer.finished[study.id] for study in studies]
    problems = [*manifest.problems]
    problems += [Problem(**row) for entry in entries for row in entry["problems"]]
    cached = [
        _with_current_facts(study_from_json(entry["cached"]), study)
        for study, entry in zip(studies, entries, strict=True)
        if entry["cached"] is not None
    ]
    root = writer.root
    rejected = [problem for problem in problems if not problem.is_handled]
    write_table(root / REJECTED_FILE, *_table(rejected, root))
    write_table(root / NOTES_FILE, *_table([row for row in problems if row.is_handled], root))
    write_if_changed(root / MANIFEST_FILE, manifest.to_csv(root).encode())
    if cached:
        writer.commit(cached, vocabulary.names, recipe.spacing_mm, len(rejected))
    return summarise(cached, problems, num_new)


def _with_current_facts(stored: CachedStudy, study: Study) -> CachedStudy:
    return replace(stored, split=study.split, target_class=study.target_class)


def _table(problems: list[Problem], root: Path) -> tuple[list[str], list[list[str]]]:
    rows = []
    for problem in problems:
        path = Path(problem.file)
        file = portable_path(path, root) if path.exists() else problem.file
        rows.append([problem.study, file, problem.reason, problem.remedy])
    return ["study", "file", "reason", "remedy"], rows
