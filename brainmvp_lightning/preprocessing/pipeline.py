"""Prepare all studies of a manifest: in parallel, resumable, and never stopped by one bad file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from brainmvp_lightning.preprocessing.cluster import absolute, spread_over_cluster
from brainmvp_lightning.preprocessing.executors import Results, spread_over_processes
from brainmvp_lightning.preprocessing.faults import Passing, mark_passing
from brainmvp_lightning.preprocessing.inputs import RETRY, find_todo, inputs_of, is_current
from brainmvp_lightning.preprocessing.labels import check_schemes, odd_labels, used_schemes
from brainmvp_lightning.preprocessing.preparation import Prepared, prepare_study
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.steps import check_tools
from brainmvp_lightning.preprocessing.summary import Summary, summarise
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.studies.labels import LabelScheme, label_schemes
from brainmvp_lightning.studies.manifest import Manifest, portable_path
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.errors import CacheWriteError
from brainmvp_lightning.volumes.lock import lock_commit, lock_folder
from brainmvp_lightning.volumes.records import (
    CachedScan,
    CachedStudy,
    study_from_json,
    study_to_json,
)
from brainmvp_lightning.volumes.shards import Shard
from brainmvp_lightning.volumes.write_errors import writing
from brainmvp_lightning.volumes.writer import (
    MANIFEST_FILE,
    NOTES_FILE,
    REJECTED_FILE,
    CacheWriter,
    remove_strays,
    write_if_changed,
    write_table,
)

__all__ = ["Options", "Prepared", "Recipe", "prepare", "prepare_study"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """What most calls of `prepare` leave as it is.

    Args:
        scheduler: Address or scheduler file of a Dask scheduler whose workers do the work.
        shard: Part of the job to do; the last of all parts to finish commits the cache.
        label_schemes: Known meanings of annotations, by name.
        watch: Called with what became of each study, in the order in which they are done.
    """

    scheduler: str | None = None
    shard: Shard | None = None
    label_schemes: Mapping[str, LabelScheme] = field(default_factory=label_schemes)
    watch: Callable[[Prepared], None] | None = None


def prepare(
    manifest: Manifest,
    folder: str | Path,
    recipe: Recipe,
    vocabulary: ModalityVocabulary,
    *,
    workers: int = 2,
    verify: bool = False,
    progress: Progress | None = None,
    options: Options | None = None,
) -> Summary:
    """Prepare what is not prepared yet, then commit the cache.

    A study is prepared again if one of its files changed, appeared or vanished, if a fault that may
    pass has spoiled it, or if a frame is missing. Frames of studies that are left out now stay in
    the folder, so that they may come back. With several workers, a script that calls this needs
    the usual ``if __name__ == "__main__"``.

    Args:
        manifest: Scans with their splits filled in; see `Manifest.with_splits`.
        folder: Cache folder; made if needed.
        recipe: How studies are prepared.
        vocabulary: Order of the modalities.
        workers: Processes.
        verify: Read every stored frame first and prepare damaged ones again.
        progress: Called with (done, total) studies.
        options: Clusters, shards and label schemes.

    Raises:
        CacheError: If the folder belongs to another recipe or process, or most of its files are
            missing.
        CacheWriteError: If the disk is full or read-only; finished studies stay valid.
        ManifestError: If the manifest contradicts itself.
        MissingToolError: If a step of the recipe needs a program that is not installed.
        ValueError: If a scan names an unknown label scheme.
    """
    root, options = Path(folder), options or Options()
    check_tools(recipe)
    manifest = manifest.validate()
    check_schemes(manifest.scans, options.label_schemes)
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with lock_folder(root, options.shard):
        with lock_commit(root):
            writer = CacheWriter(root, recipe.to_json(), recipe.hash(), options.shard)
        run = _Run(manifest, recipe, vocabulary, options, writer)
        todo = find_todo(run.own_studies, writer, recipe, verify=verify, workers=workers)
        with lock_commit(root):
            writer.withdraw([study.id for study in todo.studies])
        _work_off(todo.studies, run, workers, progress)
        with lock_commit(root):
            summary = _finish(run, len(todo.studies))
    return replace(summary, num_checked=todo.num_checked, num_damaged=todo.num_damaged)


class _Run:
    """What all steps of one call of `prepare` share."""

    def __init__(
        self,
        manifest: Manifest,
        recipe: Recipe,
        vocabulary: ModalityVocabulary,
        options: Options,
        writer: CacheWriter,
    ) -> None:
        self.manifest = manifest
        self.recipe = recipe
        self.vocabulary = vocabulary
        self.options = options
        self.writer = writer
        self.studies = manifest.studies(modalities=vocabulary.names)
        self.own_studies = [study for study in self.studies if self.is_own(study)]

    def is_own(self, study: Study) -> bool:
        """Tell whether this process has to prepare a study."""
        shard = self.options.shard
        return shard is None or shard.takes(study.id)


def _work_off(todo: list[Study], run: _Run, workers: int, progress: Progress | None) -> None:
    total = len(run.own_studies)
    done = total - len(todo)
    if progress is not None:
        progress(done, total)
    root, recipe = run.writer.root, run.recipe
    # Taken before the files are read: a file that changes meanwhile is prepared again.
    inputs = {study.id: inputs_of(study, root, recipe) for study in todo}
    for study, prepared in _results(todo, run, workers):
        cached = None if prepared.study is None else study_to_json(prepared.study)
        problems = [asdict(_with_whole_path(problem)) for problem in prepared.problems]
        entry: dict[str, Any] = {"inputs": inputs[study.id], "cached": cached, "problems": problems}
        if isinstance(prepared, Passing):
            entry[RETRY] = True
        run.writer.finish(study.id, entry)
        done += 1
        if run.options.watch is not None:
            run.options.watch(prepared)
        if progress is not None:
            progress(done, total)


def _results(todo: list[Study], run: _Run, workers: int) -> Results:
    root, recipe, scheduler = run.writer.root, run.recipe, run.options.scheduler
    if scheduler is None:
        job = partial(_prepare_guarded, recipe=recipe, root=root)
        return spread_over_processes(todo, job, workers)
    if recipe.template is not None:
        recipe = replace(recipe, template=str(Path(recipe.template).absolute()))
    job = partial(_prepare_guarded, recipe=recipe, root=root.absolute())
    return spread_over_cluster([absolute(study) for study in todo], job, scheduler, recipe)


def _with_whole_path(problem: Problem) -> Problem:
    return replace(problem, file=str(Path(problem.file).absolute()))


def _prepare_guarded(study: Study, recipe: Recipe, root: Path) -> Prepared:
    try:
        prepared = prepare_study(study, recipe, root)
    except (CacheWriteError, MissingToolError):
        raise
    except Exception as error:  # noqa: BLE001 - one study must not end a long job; it is listed
        reason = f"it could not be prepared ({type(error).__name__}: {error})"
        remedy = "run the same command again; if that does not help, report this fault"
        return Passing(None, (Problem(study.id, str(study.scans[0].path), reason, remedy),))
    stored = prepared.study
    frames = () if stored is None else (*stored.scans, *filter(None, [stored.label]))
    remove_strays(root, study.id, [frame.file for frame in frames])
    return mark_passing(prepared)


def _finish(run: _Run, num_new: int) -> Summary:
    """Commit the cache, unless other shards have something left to do."""
    if run.options.shard is None:
        return _commit(run, num_new)
    run.writer.refresh()
    waiting = _count_waiting(run)
    if not waiting:
        run.writer.tidy()
        return _commit(run, num_new)
    entries = [run.writer.finished[study.id] for study in run.own_studies]
    cached = [study_from_json(entry["cached"]) for entry in entries if entry["cached"] is not None]
    problems = [Problem(**row) for entry in entries for row in entry["problems"]]
    return replace(summarise(cached, problems, num_new), num_waiting=waiting)


def _count_waiting(run: _Run) -> int:
    others = [study for study in run.studies if not run.is_own(study)]
    unknown = sum(study.id not in run.writer.finished for study in others)
    return unknown or sum(not is_current(study, run.writer, run.recipe) for study in others)


def _commit(run: _Run, num_new: int) -> Summary:
    writer, manifest, schemes = run.writer, run.manifest, run.options.label_schemes
    root = writer.root
    entries = [writer.finished[study.id] for study in run.studies]
    cached = [
        _with_current_facts(study_from_json(entry["cached"]), study, root)
        for study, entry in zip(run.studies, entries, strict=True)
        if entry["cached"] is not None
    ]
    problems = [*manifest.problems]
    problems += [Problem(**row) for entry in entries for row in entry["problems"]]
    problems += odd_labels(cached, schemes, root)
    rejected = [problem for problem in problems if not problem.is_handled]
    write_table(root / REJECTED_FILE, *_table(rejected, root))
    write_table(root / NOTES_FILE, *_table([row for row in problems if row.is_handled], root))
    write_if_changed(root / MANIFEST_FILE, manifest.to_csv(root).encode())
    if not cached:
        writer.reopen()
        return summarise(cached, problems, num_new)
    is_changed = writer.commit(
        cached,
        run.vocabulary.names,
        run.recipe.spacing_mm,
        len(rejected),
        used_schemes(cached, schemes),
    )
    return replace(summarise(cached, problems, num_new), is_changed=is_changed)


def _with_current_facts(stored: CachedStudy, study: Study, root: Path) -> CachedStudy:
    paths = {scan.modality: scan.path for scan in study.scans}
    return replace(
        stored,
        scans=tuple(_found_at(paths[scan.modality], scan, root) for scan in stored.scans),
        label=stored.label and _found_at(study.label, stored.label, root),
        dataset=study.dataset,
        patient=study.patient,
        session=study.session,
        split=study.split,
        target_class=study.target_class,
        label_scheme=None if stored.label is None else study.label_scheme,
    )


def _found_at(path: Path | None, stored: CachedScan, root: Path) -> CachedScan:
    """Return the record with the place of its file as seen from where the cache is now."""
    assert path is not None  # what is stored was made of exactly the files of the study
    return replace(stored, source={**stored.source, "path": portable_path(path, root)})


def _table(problems: Sequence[Problem], root: Path) -> tuple[list[str], list[list[str]]]:
    rows = []
    for problem in problems:
        path = Path(problem.file)
        is_path = path.is_absolute() or path.exists()
        file = portable_path(path, root) if is_path else problem.file
        rows.append([problem.study, file, problem.reason, problem.remedy])
    return ["study", "file", "reason", "remedy"], rows
