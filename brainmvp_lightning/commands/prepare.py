"""``brainmvp prepare``: from NIfTI files to the cache that training reads."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.commands.parsing import TeachingParser, make_parser
from brainmvp_lightning.preprocessing.pipeline import prepare
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.summary import Summary
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.splits import check_ratios
from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.writer import NOTES_FILE, REJECTED_FILE

SUMMARY = "turn the NIfTI files of a data set into the cache that training reads"

MAX_ROWS = 30
PLAIN_STEPS = 10  # lines of progress where there is no terminal

Report = Callable[[int, int], None]


def main(argv: list[str]) -> int:
    """Run the command.

    Returns:
        0 if the cache holds studies, 1 if nothing was usable or writing failed, 2 for a wrong
        call, 130 if it was interrupted.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    try:
        parts = parser.instantiate_classes(options)
        vocabulary = ModalityVocabulary(parts.extra_modalities)
        manifest = _find_scans(parts, vocabulary, console)
    except (ValueError, OSError) as error:
        return _fail(error, code=2)
    try:
        started = time.monotonic()
        with _progress(console, "prepare", "studies") as report:
            summary = prepare(
                manifest,
                parts.cache,
                parts.recipe,
                vocabulary,
                workers=parts.workers,
                verify=parts.verify,
                progress=report,
            )
    except (CacheError, ValueError) as error:
        return _fail(error, code=1)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again, finished studies are kept", 130)
    _show_problems(console, summary, Path(parts.cache))
    _show_summary(console, summary, Path(parts.cache), time.monotonic() - started)
    return 0 if summary.num_studies else 1


def build_parser() -> TeachingParser:
    """Return the parser of the command."""
    ADAPTERS.load()
    parser = make_parser("brainmvp prepare", f"{SUMMARY[0].upper()}{SUMMARY[1:]}.", ADAPTERS)
    parser.add_argument("--source", type=Adapter, required=True, help="where the scans are")
    parser.add_argument("--cache", type=str, required=True, help="folder to write")
    parser.add_argument("--recipe", type=Recipe, default=Recipe(), help="how scans are prepared")
    parser.add_argument(
        "--extra_modalities",
        type=dict[str, list[str]],
        default={},
        help="more spellings of a modality, or new modalities with their spellings",
    )
    parser.add_argument(
        "--split_ratios",
        type=tuple[float, float, float],
        default=(6.0, 1.0, 3.0),
        help="shares of train, val and test for patients without a given split",
    )
    parser.add_argument("--split_seed", type=int, default=0, help="another one deals them anew")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument(
        "--verify", type=bool, default=False, help="check all stored volumes, redo damaged ones"
    )
    return parser


def _find_scans(parts: Namespace, vocabulary: ModalityVocabulary, console: Console) -> Manifest:
    unknown = [name for name in parts.recipe.reference if name not in vocabulary.names]
    if unknown:
        raise ValueError(
            f"recipe.reference names {', '.join(unknown)}; known are {', '.join(vocabulary.names)}"
        )
    check_ratios(parts.split_ratios)
    source: Adapter = parts.source
    with _progress(console, "source", "studies") as report:
        source.progress = report
        scans = source.scans(vocabulary)
    manifest = Manifest(tuple(scans), tuple(source.problems))
    return manifest.validate().with_splits(parts.split_ratios, parts.split_seed)


def _fail(error: Exception | str, code: int) -> int:
    sys.stderr.write(f"brainmvp prepare: {error}\n")
    return code


@contextmanager
def _progress(console: Console, title: str, unit: str) -> Iterator[Report]:
    """Show a bar with rate and time left on a terminal, else a line for every tenth."""
    if not console.is_terminal:
        yield _PlainProgress(console, title, unit)
        return
    columns = (
        TextColumn(f"{title:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, rate="")
        rate = _Rate()

        def report(done: int, total: int) -> None:
            text = f"{rate.per_second(done):.1f} {unit}/s"
            bar.update(task, completed=done, total=total, rate=text)

        yield report


class _Rate:
    """Speed of a job that may start part-way."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def per_second(self, done: int) -> float:
        """Return the mean speed since the first call."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        started, before = self._first
        return (done - before) / max(now - started, 1e-3)


class _PlainProgress:
    """One line now and then, for log files."""

    def __init__(self, console: Console, title: str, unit: str) -> None:
        self._console = console
        self._title = title
        self._unit = unit
        self._rate = _Rate()
        self._next = 0

    def __call__(self, done: int, total: int) -> None:
        rate = self._rate.per_second(done)
        if done < self._next and done < total:
            return
        self._next = done + max(1, -(-total // PLAIN_STEPS))
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        self._console.print(
            f"{self._title}: {done} of {total} {self._unit}, {rate:.1f}/s{left}", markup=False
        )


def _show_problems(console: Console, summary: Summary, cache: Path) -> None:
    handled = [problem for problem in summary.problems if problem.is_handled]
    for title, rows, file in (
        ("set aside", summary.rejected, REJECTED_FILE),
        ("handled", handled, NOTES_FILE),
    ):
        if rows:
            console.print(_problem_table(f"{len(rows)} {title}", rows))
            more = f"{len(rows) - MAX_ROWS} more, all" if len(rows) > MAX_ROWS else "all"
            console.print(f"({more} in {cache / file})", markup=False)


def _problem_table(title: str, problems: tuple[Problem, ...] | list[Problem]) -> Table:
    table = Table("study", "file", "what is wrong", "what to do", title=title, title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    for problem in problems[:MAX_ROWS]:
        file = "/".join(Path(problem.file).parts[-2:])
        cells = (problem.study, file, problem.reason, problem.remedy)
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return table


def _show_summary(console: Console, summary: Summary, cache: Path, seconds: float) -> None:
    lines = [_outcome(summary, cache, seconds)]
    if summary.num_studies:
        scans = sum(summary.scans_by_modality.values())
        modalities = ", ".join(
            f"{name.upper()} {count}" for name, count in summary.scans_by_modality.items()
        )
        splits = ", ".join(
            f"{name} {summary.studies_by_split.get(name, 0)}" for name in ("train", "val", "test")
        )
        lines += [
            f"{summary.num_studies} studies ({splits}), {summary.num_labels} with a label, "
            f"{summary.num_partnered} with two modalities or more",
            f"{scans} scans: {modalities}",
            f"{summary.num_bytes / 1e6:.1f} MB; {summary.num_lossless} scans without loss, "
            f"largest quantisation error {summary.worst_error:.1e} of the 1-99 percentile range",
        ]
        if not summary.num_partnered:
            lines.append(
                "warning: no study has two modalities, so cross-modal reconstruction has nothing "
                "to do; check how the scans are grouped into studies"
            )
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _outcome(summary: Summary, cache: Path, seconds: float) -> str:
    if not summary.num_studies:
        return f"nothing could be prepared; {cache / REJECTED_FILE} says why"
    if not summary.num_new:
        return f"nothing to do: cache {cache} is complete and up to date"
    return f"prepared {summary.num_new} studies in {seconds:.1f} s into {cache}"
