"""How much time, memory and disk preparing a cohort will take."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from brainmvp_lightning.doctor.facts import StudyFacts
from brainmvp_lightning.doctor.findings import Finding
from brainmvp_lightning.preprocessing.preparation import prepare_study
from brainmvp_lightning.preprocessing.recipe import STEPS, Recipe
from brainmvp_lightning.studies.study import Study

# Of `prepare_study` in a process of its own, fitted to four studies of the demo cohort at 1 mm (CPU
# time 0.19 to 0.94 s, peak 164 to 199 MB). Studies that are timed scale these figures.
READ_SECONDS = 1e-9  # per byte of voxels in a file
STORE_SECONDS = 8e-9  # per stored voxel
RESAMPLE_SECONDS = 41e-9  # more per stored voxel if it is resampled
STORED_BYTES = 0.8  # per stored voxel of a scan; labels compress to nearly nothing
BASE_MEMORY = 95e6  # bytes of a process before it reads anything
GRID_MEMORY = 9.0  # bytes per voxel of the grid; scans are placed one after the other

_UNUSED = (None, "none")  # values of steps of a recipe
_UNKNOWN_HEAD = 0.6  # of the grid, where only headers were read


@dataclass(frozen=True)
class Load:
    """What one study costs.

    Args:
        seconds: CPU time.
        stored: Bytes in the cache.
        memory: Peak bytes of a process.
    """

    seconds: float
    stored: float
    memory: float


@dataclass(frozen=True)
class Prediction:
    """What preparing the cohort will take; all are estimates.

    Args:
        cache_bytes: Size of the cache.
        cpu_seconds: CPU time of all studies.
        wall_seconds: With `workers` processes, each with a core of its own.
        workers: Processes.
        memory_per_worker: Peak bytes of a process at the largest study.
        largest_study: Which that is.
        num_resampled: Scans that are interpolated.
        num_timed: Studies that were really prepared to scale the estimate; 0: built-in figures.
        free_bytes: Room where the cache will be; None if unknown.
        is_partial: Registration, brain masks and bias correction come on top.
    """

    cache_bytes: float
    cpu_seconds: float
    wall_seconds: float
    workers: int
    memory_per_worker: float
    largest_study: str
    num_resampled: int
    num_timed: int
    free_bytes: int | None
    is_partial: bool


def predict(
    studies: Sequence[StudyFacts],
    timed: Sequence[tuple[StudyFacts, Load]],
    recipe: Recipe,
    workers: int,
    cache: Path | None,
) -> Prediction | None:
    """Estimate what `prepare` will take; None without usable studies.

    Args:
        studies: What was looked at.
        timed: Studies that were prepared, and what they took.
        recipe: How they will be prepared.
        workers: Processes.
        cache: Where the cache will be, if that is known.
    """
    usable = [study for study in studies if study.scans]
    if not usable:
        return None
    loads = [expected_load(study, recipe) for study in usable]
    scale = _scale(timed, recipe)
    largest = max(range(len(loads)), key=lambda place: loads[place].memory)
    seconds = scale.seconds * math.fsum(load.seconds for load in loads)
    return Prediction(
        cache_bytes=scale.stored * math.fsum(load.stored for load in loads),
        cpu_seconds=seconds,
        wall_seconds=seconds / max(1, min(workers, len(usable))),
        workers=workers,
        memory_per_worker=scale.memory * loads[largest].memory,
        largest_study=usable[largest].id,
        num_resampled=sum(len(study.resampled) for study in usable),
        num_timed=len(timed),
        free_bytes=None if cache is None else _free_bytes(cache),
        is_partial=not timed and any(getattr(recipe, step) not in _UNUSED for step in STEPS),
    )


def expected_load(study: StudyFacts, recipe: Recipe) -> Load:
    """Return what a study costs by the built-in figures."""
    grid = float(np.prod(study.grid_shape))
    stored = grid * _head_share(study, grid, recipe)
    images = len(study.scans) + (study.label is not None)
    sizes = [float(np.prod(scan.shape)) * scan.voxel_bytes for scan in study.scans]
    seconds = (
        READ_SECONDS * math.fsum(sizes)
        + STORE_SECONDS * stored * images
        + RESAMPLE_SECONDS * stored * len(study.resampled)
    )
    memory = BASE_MEMORY + max(sizes) + GRID_MEMORY * grid
    return Load(seconds, STORED_BYTES * stored * len(study.scans), memory)


def check_prediction(prediction: Prediction, cores: int, memory_bytes: int | None) -> list[Finding]:
    """Find a disk that is too small, and more memory or workers than the machine has."""
    findings = []
    free = prediction.free_bytes
    if free is not None and prediction.cache_bytes > free:
        text = (
            f"the cache needs about {prediction.cache_bytes / 1e9:.1f} GB, "
            f"its disk has {free / 1e9:.1f} GB left"
        )
        findings.append(Finding("disk", "error", "", "", text, "free some room, or move --cache"))
    needed = prediction.memory_per_worker * prediction.workers
    if memory_bytes is not None and needed > memory_bytes:
        fitting = max(1, int(memory_bytes / prediction.memory_per_worker))
        text = (
            f"{prediction.workers} workers need up to {needed / 1e9:.1f} GB of memory, "
            f"this machine has {memory_bytes / 1e9:.1f} GB"
        )
        findings.append(Finding("memory", "warning", "", "", text, f"use --workers {fitting}"))
    if prediction.workers > cores:
        text = f"{prediction.workers} workers share {cores} cores"
        findings.append(Finding("memory", "note", "", "", text, f"use --workers {cores}"))
    return findings


def choose_samples(studies: Sequence[StudyFacts], recipe: Recipe, count: int) -> list[StudyFacts]:
    """Return studies of small, middle and large size."""
    usable = sorted(
        (study for study in studies if study.scans),
        key=lambda study: expected_load(study, recipe).seconds,
    )
    places = np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int)
    return [usable[place] for place in dict.fromkeys(places.tolist())]


def time_prepare(study: Study, recipe: Recipe) -> Load | None:
    """Really prepare a study into a folder that is removed again; None if that failed.

    A process of its own does it, so that its peak of memory is that of this study.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, study, recipe).result()
        except BrokenProcessPool:
            return None


def _measure(study: Study, recipe: Recipe) -> Load | None:
    with tempfile.TemporaryDirectory(prefix="brainmvp-doctor-") as folder:
        started = time.process_time()
        prepared = prepare_study(study, recipe, Path(folder)).study
        seconds = time.process_time() - started
    if prepared is None:
        return None
    frames = [*prepared.scans, *([prepared.label] if prepared.label else [])]
    return Load(seconds, float(sum(frame.num_bytes for frame in frames)), _peak_memory())


def _peak_memory() -> float:
    try:
        import resource  # not on every system
    except ImportError:
        return 0.0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


def _scale(timed: Sequence[tuple[StudyFacts, Load]], recipe: Recipe) -> Load:
    if not timed:
        return Load(1.0, 1.0, 1.0)
    expected = [expected_load(study, recipe) for study, _ in timed]
    measured = [load for _, load in timed]
    memory = max(
        (
            found.memory / guess.memory
            for guess, found in zip(expected, measured, strict=True)
            if found.memory > 0
        ),
        default=1.0,
    )
    return Load(
        math.fsum(load.seconds for load in measured) / math.fsum(load.seconds for load in expected),
        math.fsum(load.stored for load in measured) / math.fsum(load.stored for load in expected),
        memory,
    )


def _head_share(study: StudyFacts, grid: float, recipe: Recipe) -> float:
    looks = [scan.look for scan in study.scans if scan.look is not None]
    if not looks:
        return _UNKNOWN_HEAD
    lower = np.min([look.box[0] for look in looks], axis=0) - recipe.margin_mm
    upper = np.max([look.box[1] for look in looks], axis=0) + recipe.margin_mm
    voxels = float(np.prod((upper - lower) / recipe.spacing_mm))
    return min(1.0, voxels / grid)


def _free_bytes(cache: Path) -> int | None:
    folder = cache.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
