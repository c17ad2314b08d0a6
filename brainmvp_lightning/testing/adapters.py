"""The contract of an adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.testing.contracts import check_options, error_of, expect, no_error


def check_adapter(build: Callable[[str], Adapter], root: str | Path) -> None:
    """See that an adapter keeps what `Adapter` promises.

    Args:
        build: Builds it for the place of a data set; the class, if its first option is that place.
        root: A small data set that it reads, with at least one usable scan; the files may be empty.
            Beside it there is nothing called ``no_such_place``.

    Raises:
        ContractError: At the first broken promise.
    """
    check_options(build, Adapter)
    adapter = _built(build, root)
    name = type(adapter).__name__
    for attribute in ("problems", "progress", "label_schemes"):
        expect(hasattr(adapter, attribute), f"{name} does not call super().__init__() at its start")
    scans = _scans(adapter, root)
    problems = list(adapter.problems)
    _check_scans(name, scans)
    wrong = [problem for problem in problems if not isinstance(problem, Problem)]
    expect(not wrong, f"{name}.problems holds {wrong[:1]!r}; expected Problem objects")
    mute = [p for p in problems if not (p.reason and p.remedy)]
    expect(not mute, f"{name} sets {mute[:1]!r} aside without a reason and a remedy")
    _check_repetition(build, root, adapter, scans, problems)
    _check_absence(build, root)


def _built(build: Callable[[str], Adapter], root: str | Path) -> Adapter:
    with no_error(f"building the adapter for {root}", "it looks at files in `scans` only"):
        adapter = build(str(root))
    expect(
        isinstance(adapter, Adapter),
        f"the adapter is a {type(adapter).__name__}; derive it from "
        "brainmvp_lightning.adapters.base.Adapter",
    )
    return adapter


def _scans(adapter: Adapter, root: str | Path) -> list[Scan]:
    name = type(adapter).__name__
    with no_error(f"{name}.scans for {root}", "files that cannot be used go to self.problems"):
        scans: Any = adapter.scans(ModalityVocabulary())
    expect(
        isinstance(scans, list) and all(isinstance(scan, Scan) for scan in scans),
        f"{name}.scans returns a {type(scans).__name__}; expected a list of Scan",
    )
    expect(bool(scans), f"{name}.scans returns no scan of {root}; expected at least one")
    found: list[Scan] = scans
    return found


def _check_scans(name: str, scans: list[Scan]) -> None:
    known = ModalityVocabulary().names
    for scan in scans:
        expect(
            scan.modality in known,
            f"{name} calls the modality of {scan.path} {scan.modality!r}; expected a "
            f"canonical name, as vocabulary.parse gives them ({', '.join(known)})",
        )
        expect(
            bool(scan.patient and scan.dataset),
            f"{name} leaves patient or dataset of {scan.path} empty; they tell studies apart",
        )
        for path in filter(None, (scan.path, scan.label, scan.brain_mask)):
            expect(
                isinstance(path, Path) and path.is_file(),
                f"{name} names {path!r}, which is no file; expected the Path of one",
            )
    with no_error(f"forming studies of the scans of {name}", "they must not contradict each other"):
        manifest = Manifest(tuple(scans), ()).validate()
    expect(
        not manifest.problems,
        f"{name} names scans that cannot be used together "
        f"({'; '.join(map(str, manifest.problems))}); put all but one into self.problems",
    )


def _check_repetition(
    build: Callable[[str], Adapter],
    root: str | Path,
    adapter: Adapter,
    scans: list[Scan],
    problems: list[Problem],
) -> None:
    name = type(adapter).__name__
    again = _scans(adapter, root)
    expect(
        sorted(map(str, adapter.problems)) == sorted(map(str, problems)),
        f"{name} has {len(problems)} problems after one call of scans and {len(adapter.problems)} "
        "after two; set self.problems = [] at the start of scans",
    )
    expect(
        again == scans and _scans(_built(build, root), root) == scans,
        f"{name} returns other scans when asked again; sort what the file system lists",
    )


def _check_absence(build: Callable[[str], Adapter], root: str | Path) -> None:
    adapter = build(str(Path(root).with_name("no_such_place")))
    name = type(adapter).__name__
    error = error_of(lambda: adapter.scans(ModalityVocabulary()))
    done = f"raises {type(error).__name__} ({error})" if error else "raises nothing"
    expect(
        isinstance(error, (FileNotFoundError, ValueError)),
        f"{name}.scans {done} where no data set is; expected a FileNotFoundError that says what to "
        "correct",
    )
