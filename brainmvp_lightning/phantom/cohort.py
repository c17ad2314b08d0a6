"""The demo cohort: a folder of synthetic studies as BIDS files, whole or resumable at any time."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

from brainmvp_lightning.phantom.anatomy import Anatomy, build_anatomy
from brainmvp_lightning.phantom.bids import LABELS_FOLDER, write_descriptions, write_json
from brainmvp_lightning.phantom.contrasts import MODALITIES
from brainmvp_lightning.phantom.lesions import DIAGNOSES
from brainmvp_lightning.phantom.plan import StudyPlan, plan_study
from brainmvp_lightning.phantom.study import write_study
from brainmvp_lightning.volumes.lock import lock_folder

_FINISHED = "cohort.json"  # written last
_PARTIAL = ".partial"  # holds whatever is under way; removed at the end
_SPACING_RANGE_MM = (0.5, 10.0)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CohortSettings:
    """What decides about every byte of a cohort.

    Args:
        num_studies: Studies, one per person.
        spacing_mm: Resolution; 1 gives files as scanners write them, 2 is eight times faster.
        seed: Not negative.
        recipe: Version of this generator; grows whenever its results change.
        diagnoses: Findings that the studies have in turn; empty for those of each site.
        modalities: What every study holds; empty for subsets of all sizes.
    """

    num_studies: int
    spacing_mm: float
    seed: int
    recipe: int = 1
    diagnoses: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lower, upper = _SPACING_RANGE_MM
        if self.num_studies < 1:
            raise ValueError(f"a cohort needs at least 1 study, got num_studies={self.num_studies}")
        if not lower <= self.spacing_mm <= upper:
            raise ValueError(
                f"spacing_mm must lie between {lower} and {upper}, got {self.spacing_mm}"
            )
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        for what, chosen, known in (
            ("diagnoses", self.diagnoses, tuple(DIAGNOSES)),
            ("modalities", self.modalities, MODALITIES),
        ):
            unknown = [name for name in chosen if name not in known]
            if unknown:
                raise ValueError(f"unknown {what} {unknown}; choose from {', '.join(known)}")

    def plans(self) -> list[StudyPlan]:
        """Return the plans of all studies."""
        return [self.plan(index) for index in range(self.num_studies)]

    def plan(self, index: int) -> StudyPlan:
        """Return the plan of one study."""
        return plan_study(self.seed, index, self.diagnoses, self.modalities)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values; choices that were not made are left out."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in plain.items() if value != []}


Job = tuple[Path, Path, CohortSettings, int]  # cohort, template, settings, index of the study


def write_cohort(
    root: str | Path,
    num_studies: int = 24,
    spacing_mm: float = 2.0,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
    diagnoses: Sequence[str] = (),
    modalities: Sequence[str] = (),
) -> None:
    """Write a demo cohort, or what is missing of one.

    Finished studies of an interrupted run are kept; a finished cohort is left alone. The same
    settings give the same files, byte by byte, on one kind of machine.

    Args:
        root: Folder of the cohort, new, empty, or begun with the same settings.
        num_studies: Studies; every eight of them hold each modality at least twice.
        spacing_mm: Resolution of anatomy and files.
        seed: Of all random draws.
        workers: Processes; with 1, everything happens in this one.
        progress: Called with the numbers of finished and of all studies, first at the start.
        diagnoses: Findings that the studies have in turn; by default those of each site.
        modalities: What every study holds; by default subsets of all sizes.

    Raises:
        ValueError: If a setting is out of range, or the folder holds something else.
        CacheError: If another process is writing the same cohort.
        RuntimeError: If a worker process dies.
    """
    settings = CohortSettings(
        num_studies,
        float(spacing_mm),
        seed,
        diagnoses=tuple(diagnoses),
        modalities=tuple(modalities),
    )
    root = Path(root)
    if not _claim(root, settings):
        with lock_folder(root / _PARTIAL):
            _complete(root, settings, workers, progress or _say_nothing)
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)


def _say_nothing(done: int, total: int) -> None:
    pass


def _complete(root: Path, settings: CohortSettings, workers: int, progress: Progress) -> None:
    """Write all studies that are not there, then the files that make the cohort a finished one."""
    plans = settings.plans()
    pending = [plan for plan in plans if not (root / plan.participant).is_dir()]
    num_kept = len(plans) - len(pending)
    progress(num_kept, len(plans))
    anatomy_path = _provide_anatomy(root, settings.spacing_mm)
    jobs = [(root, anatomy_path, settings, plan.index) for plan in pending]
    for num_made, _ in enumerate(_run(jobs, workers), start=1):
        progress(num_kept + num_made, len(plans))
    write_descriptions(root, plans)
    (root / _PARTIAL / _FINISHED).replace(root / _FINISHED)


def _claim(root: Path, settings: CohortSettings) -> bool:
    """Make the folder ours.

    Returns:
        Whether the cohort is finished already.
    """
    partial = root / _PARTIAL
    for folder in (root, partial):
        if (folder / _FINISHED).is_file():
            _compare(root, json.loads((folder / _FINISHED).read_text()), settings)
            return folder == root
    if root.is_dir() and any(not entry.name.startswith(".") for entry in root.iterdir()):
        raise ValueError(
            f"{root} holds files that are not of a demo cohort; choose a new or empty folder"
        )
    write_json(partial / _FINISHED, settings.to_json())
    return False


def _compare(root: Path, found: dict[str, object], settings: CohortSettings) -> None:
    differences = [
        f"{name}={found.get(name)!r} instead of {value!r}"
        for name, value in {**dict.fromkeys(found), **settings.to_json()}.items()
        if found.get(name) != value
    ]
    if differences:
        raise ValueError(
            f"the cohort at {root} was made with {', '.join(differences)}; "
            "choose another folder, delete this one, or use its settings"
        )


def _provide_anatomy(root: Path, spacing_mm: float) -> Path:
    """Write the template for the worker processes, once."""
    path = root / _PARTIAL / "anatomy.npz"
    if not path.is_file():
        temporary = path.with_name(f"anatomy.{os.getpid()}.npz")
        _template(spacing_mm).save(temporary)
        temporary.replace(path)
    return path


@functools.lru_cache(maxsize=1)
def _template(spacing_mm: float) -> Anatomy:
    return build_anatomy(spacing_mm)


@functools.lru_cache(maxsize=1)
def _loaded_template(path: Path, spacing_mm: float) -> Anatomy:  # noqa: ARG001 - part of the key
    return Anatomy.load(path)


def _run(jobs: list[Job], workers: int) -> Iterator[None]:
    """Do all jobs, yielding after each."""
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            _make_study(job)
            yield
        return
    executor = ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_follow_parent,
    )
    try:
        for future in as_completed([executor.submit(_make_study, job) for job in jobs]):
            future.result()
            yield
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process died, perhaps for lack of memory; run again to continue, "
            "with workers=1 to need less"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """End this worker when the main process is killed, instead of waiting for it for ever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _make_study(job: Job) -> None:
    """Write one study aside, then move it into place; the scans, which count, come last."""
    root, anatomy_path, settings, index = job
    plan = settings.plan(index)
    anatomy = _loaded_template(anatomy_path, settings.spacing_mm)
    with tempfile.TemporaryDirectory(prefix=plan.participant, dir=root / _PARTIAL) as folder:
        scans, labels = Path(folder) / "scans", Path(folder) / "labels"
        write_study(plan, anatomy, settings.seed, scans, labels)
        _move(labels / plan.participant, root / LABELS_FOLDER / plan.participant)
        _move(scans / plan.participant, root / plan.participant)


def _move(source: Path, target: Path) -> None:
    """Rename a folder in place of what an interrupted run may have left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    source.replace(target)
