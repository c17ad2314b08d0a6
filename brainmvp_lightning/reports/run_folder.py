"""What a run left in its folder, whole or not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from brainmvp_lightning.evaluation.class_tables import ClassScore, read_classes
from brainmvp_lightning.evaluation.tables import CaseScore, read_cases
from brainmvp_lightning.reports.metrics import Logs, read_logs

T = TypeVar("T")

_SCORES = "test/cases.csv"
_SIGNS = (
    "config.yaml",
    "run.json",
    "logs/*/metrics.csv",
    _SCORES,
    "pictures/*.png",
    "templates/*.nii.gz",
)


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        name: What the page calls it.
        folder: Where it is.
        config: Of ``config.yaml``; empty without one.
        facts: Of ``run.json``; empty without one.
        encoder: Rows of the table in ``encoder.md``.
        logs: Curves.
        pictures: PNG files by kind, such as ``templates``; each by epoch.
        templates: Last templates, by modality.
        cases: Scores of a segmentation test.
        classes: Answers of a classification test.
        volumes: Folders of the worst cases, by study.
        faults: One sentence for each thing that is damaged.
    """

    name: str
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, str] = field(default_factory=dict)
    logs: Logs = field(default_factory=Logs)
    pictures: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    templates: Mapping[str, Path] = field(default_factory=dict)
    cases: Sequence[CaseScore] = ()
    classes: Sequence[ClassScore] = ()
    volumes: Mapping[str, Path] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (
            self.config
            or self.facts
            or self.logs.curves
            or self.pictures
            or self.templates
            or self.cases
            or self.classes
        )


def find_runs(path: Path) -> list[Path]:
    """Return the run folder at `path`, or those below it; none if there are none.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not path.is_dir():
        what = "a file; give the folder of the run" if path.exists() else "missing"
        raise FileNotFoundError(f"run folder {path} is {what}")
    if _is_run(path):
        return [path]
    below = {found.parent for found in path.rglob("config.yaml")}
    below |= {found.parent.parent.parent for found in path.rglob("logs/*/metrics.csv")}
    return sorted(folder for folder in below if "logs" not in folder.relative_to(path).parts)


def read_run(folder: Path, name: str) -> Run:
    """Read what is there; what is damaged becomes a fault."""
    faults: list[str] = []

    def attempt(file: str, read: Callable[[Path], T], otherwise: T) -> T:
        return _attempt(folder, file, read, otherwise, faults)

    logs = read_logs(folder / "logs")
    cases, classes = _read_scores(attempt)
    run = Run(
        name=name,
        folder=folder,
        config=attempt("config.yaml", _read_yaml, {}),
        facts=attempt("run.json", _read_json, {}),
        encoder=attempt("encoder.md", _read_table, {}),
        logs=logs,
        pictures=_find_pictures(folder / "pictures"),
        templates={
            path.name.removesuffix(".nii.gz"): path
            for path in sorted((folder / "templates").glob("*.nii.gz"))
        },
        cases=cases,
        classes=classes,
        volumes={
            path.parent.name: path.parent
            for path in sorted((folder / "test" / "volumes").glob("*/image.nii.gz"))
        },
    )
    return _with_faults(run, [*logs.faults, *faults])


def _with_faults(run: Run, faults: list[str]) -> Run:
    if not (run.folder / "config.yaml").exists():
        faults = [*faults, "config.yaml is missing; its configuration is not shown"]
    values = {**vars(run), "faults": tuple(faults)}
    return Run(**values)


def _is_run(folder: Path) -> bool:
    return any(True for sign in _SIGNS for _ in folder.glob(sign))


def _attempt(
    folder: Path, file: str, read: Callable[[Path], T], otherwise: T, faults: list[str]
) -> T:
    """Read one file of a run, if it is there; a damaged one is named."""
    path = folder / file
    try:
        return read(path) if path.is_file() else otherwise
    except OSError as error:
        faults.append(f"{file} cannot be read ({error.strerror})")
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()).replace(str(path), file)
        if file == _SCORES:
            reason = reason.partition(": ")[0]  # what follows quotes ids of cases
        faults.append(f"{file} is damaged: {reason}")
    return otherwise


def _read_scores(
    attempt: Callable[..., Any],
) -> tuple[Sequence[CaseScore], Sequence[ClassScore]]:
    header: str = attempt(_SCORES, _first_line, "")
    if header and "region" not in header.split(","):
        return (), attempt(_SCORES, read_classes, [])
    return attempt(_SCORES, read_cases, []), ()


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().strip()


def _read_yaml(path: Path) -> dict[str, Any]:
    return _mapping(yaml.safe_load(path.read_text(encoding="utf-8")))


def _read_json(path: Path) -> dict[str, Any]:
    return _mapping(json.loads(path.read_text(encoding="utf-8")))


def _mapping(content: Any) -> dict[str, Any]:  # noqa: ANN401 - anything may be in a file
    if not isinstance(content, dict):
        raise ValueError(f"it holds {type(content).__name__} where names and values should be")
    return content


def _read_table(path: Path) -> dict[str, str]:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def _find_pictures(folder: Path) -> dict[str, dict[str, Path]]:
    """Return pictures by kind and epoch, oldest first; ``last`` only if it differs from them."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.png"), key=_number_and_name):
        kind, _, epoch = path.stem.rpartition("_")
        if kind:
            found.setdefault(kind, {})[epoch] = path
    for epochs in found.values():
        numbered = [path for epoch, path in epochs.items() if epoch != "last"]
        if "last" in epochs and numbered and _are_same(epochs["last"], numbered[-1]):
            del epochs["last"]
    return found


def _number_and_name(path: Path) -> tuple[bool, int, str]:
    """Return what numbered pictures are sorted by; those with a word come behind them."""
    end = path.stem.rpartition("_")[2]
    return not end.isdecimal(), int(end) if end.isdecimal() else 0, path.name


def _are_same(first: Path, second: Path) -> bool:
    try:
        return first.read_bytes() == second.read_bytes()
    except OSError:
        return False  # whoever shows them will name the one that cannot be read
