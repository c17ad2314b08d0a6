"""``brainmvp doctor``: what is wrong with a cohort, before hours of work."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import Action
from dataclasses import replace
from functools import partial
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.table import TableAdapter
from brainmvp_lightning.commands.parsing import TeachingParser
from brainmvp_lightning.commands.prepare import build_parser as build_prepare_parser
from brainmvp_lightning.commands.progress import show_progress
from brainmvp_lightning.doctor.diagnosis import Diagnosis, Settings, diagnose
from brainmvp_lightning.doctor.findings import SEVERITIES
from brainmvp_lightning.doctor.screen import plural, show_report
from brainmvp_lightning.preprocessing.selection import exclude, freeze_splits
from brainmvp_lightning.studies.labels import label_schemes
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.splits import check_ratios
from brainmvp_lightning.volumes.writer import write_table

SUMMARY = "find what is wrong with a cohort before it is prepared"

_IGNORED = ("verify", "scheduler", "shard")  # of the options of prepare
_EPILOG = "Exit code: 0 without errors, 1 with errors (with --strict: or warnings), 2 wrong call."


def main(argv: list[str]) -> int:
    """Run the command.

    Returns:
        0 if there are no errors, 1 if there are (or warnings, if they count), 2 for a wrong call,
        130 if it was interrupted.
    """
    options = build_parser().parse_args(_with_config(argv))
    console = Console(soft_wrap=True)
    try:
        parts = build_parser().instantiate_classes(options)
        source, words = _source(parts)
        diagnosis = _diagnose(source, words, parts, console)
    except (ValueError, OSError) as error:
        return _fail(error, code=2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    show_report(console, diagnosis.report, parts.max_rows)
    try:
        _write(parts, diagnosis, console)
    except OSError as error:
        return _fail(f"the report cannot be written ({error})", code=2)
    counts = diagnosis.report.counts
    is_bad = counts["errors"] > 0 or (parts.strict and counts["warnings"] > 0)
    verdict = ", ".join(plural(counts[f"{word}s"], word) for word in SEVERITIES)
    command = _next_command(argv, parts, source, has_errors=counts["errors"] > 0)
    _say(console, f"{verdict}; next: {command}")
    return 1 if is_bad else 0


def build_parser() -> TeachingParser:
    """Return the parser: that of prepare, a manifest in place of a source, and the reports."""
    parser = build_prepare_parser()
    parser.prog = "brainmvp doctor"
    parser.description = f"{SUMMARY[0].upper()}{SUMMARY[1:]}. Takes the configuration of prepare."
    parser.epilog = _EPILOG
    getattr(parser, "required_args", set()).difference_update({"source", "cache"})
    for action in parser._actions:
        _adapt(action)
    parser.add_argument(
        "manifest",
        nargs="?",
        type=str,
        help="CSV table with one row per scan, or a YAML file for --config",
    )
    parser.add_argument("--quick", action="store_true", help="read headers only")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument("--json", type=str | None, help="write everything that was found here")
    parser.add_argument("--html", type=str | None, help="write a page with pictures here")
    parser.add_argument(
        "--write_manifest", type=str | None, help="write the rows without errors to this CSV table"
    )
    parser.add_argument("--max_rows", type=int, default=10, help="findings shown of each kind")
    parser.add_argument(
        "--time_studies",
        type=int,
        default=3,
        help="studies that are really prepared, and thrown away, to scale the estimates",
    )
    return parser


def _adapt(action: Action) -> None:
    if action.dest in ("source", "cache"):
        action.required = False
    if action.dest == "cache":
        action.help = "folder that prepare will write; only its disk and its recipe are looked at"
    elif action.dest == "workers":
        action.help = "processes, here and for the estimates"
    elif action.dest in _IGNORED:
        action.help = "of prepare; without effect here"


def _with_config(argv: list[str]) -> list[str]:
    """Let a YAML file stand where the manifest does."""
    is_config = bool(argv) and Path(argv[0]).suffix in (".yaml", ".yml") and argv[0][0] != "-"
    return ["--config", *argv] if is_config else argv


def _settings(parts: Namespace) -> Settings:
    vocabulary = ModalityVocabulary(parts.extra_modalities)
    unknown = [name for name in parts.recipe.reference if name not in vocabulary.names]
    if unknown:
        raise ValueError(
            f"recipe.reference names {', '.join(unknown)}; known are {', '.join(vocabulary.names)}"
        )
    check_ratios(parts.split_ratios)
    return Settings(
        recipe=parts.recipe,
        vocabulary=vocabulary,
        split_ratios=parts.split_ratios,
        split_seed=parts.split_seed,
        quick=parts.quick,
        workers=parts.workers,
        num_timed=parts.time_studies,
        cache=Path(parts.cache) if parts.cache else None,
    )


def _source(parts: Namespace) -> tuple[Adapter, str]:
    if (parts.manifest is None) == (parts.source is None):
        raise ValueError(
            "give either a manifest, such as 'brainmvp doctor scans.csv', or the --config or "
            "--source of prepare"
        )
    if parts.manifest is not None:
        return TableAdapter(parts.manifest), parts.manifest
    source: Adapter = parts.source
    return source, str(getattr(source, "path", getattr(source, "root", type(source).__name__)))


def _diagnose(source: Adapter, words: str, parts: Namespace, console: Console) -> Diagnosis:
    settings = _settings(parts)
    show = partial(show_progress, console)
    with show("source", "studies") as report:
        source.progress = report
        scans = source.scans(settings.vocabulary)
    manifest = _select(Manifest(tuple(scans), tuple(source.problems)), parts)
    schemes = label_schemes({**source.label_schemes, **parts.label_schemes})
    is_table = isinstance(source, TableAdapter)
    settings = replace(settings, schemes=schemes)
    return diagnose(manifest, settings, source=words, is_table=is_table, progress=show)


def _select(manifest: Manifest, parts: Namespace) -> Manifest:
    """Leave out and deal as the lists of the user say; what they leave out is no fault."""
    found = manifest
    if parts.exclude is not None:
        found = exclude(found, parts.exclude)
    if parts.splits is not None:
        found = freeze_splits(found, parts.splits)
    new = found.problems[len(manifest.problems) :]
    handled = tuple(replace(problem, is_handled=True) for problem in new)
    return Manifest(found.scans, (*manifest.problems, *handled))


def _write(parts: Namespace, diagnosis: Diagnosis, console: Console) -> None:
    if parts.json:
        text = json.dumps(diagnosis.report.to_json(), indent=1)
        Path(parts.json).write_text(text, encoding="utf-8")
    if parts.html:
        from brainmvp_lightning.doctor.page import make_page  # loads matplotlib

        with show_progress(console, "draw", "studies") as report:
            page = make_page(diagnosis.report, diagnosis.studies, report)
        Path(parts.html).write_text(page, encoding="utf-8")
    if parts.write_manifest:
        _write_manifest(Path(parts.write_manifest), diagnosis, console)


def _write_manifest(path: Path, diagnosis: Diagnosis, console: Console) -> None:
    manifest = diagnosis.checked_manifest()
    manifest.write(path)
    aside = path.with_name(f"{path.stem}_set_aside.csv")
    rows = [
        (row.study, row.file, row.sentence, row.fix)
        for row in diagnosis.report.findings
        if row.severity == "error"
    ]
    write_table(aside, ("study", "file", "reason", "remedy"), rows)
    left = len(diagnosis.rows.manifest.scans) - len(manifest.scans)
    text = f"{path}: {len(manifest.scans)} scans; {left} with errors are left out, see {aside}"
    _say(console, text)


def _next_command(argv: list[str], parts: Namespace, source: Adapter, *, has_errors: bool) -> str:
    """Return what to run now."""
    if has_errors and not parts.write_manifest:
        again = shlex.join(["brainmvp", "doctor", *argv, "--write_manifest", "checked.csv"])
        return f"correct the errors, or leave them out: {again}"
    words = _prepare_words(_with_config(argv))
    table = parts.write_manifest or parts.manifest
    if parts.manifest is not None:
        words.remove(parts.manifest)
        words = ["--config", "configs/prepare/table.yaml", "--source.path", table, *words]
        if parts.cache is None:
            words += ["--cache", f"cache/{Path(table).stem}"]
    elif table is not None:
        words += ["--source", "table", "--source.path", table]
        if source.label_schemes:  # those that the data set brought along
            schemes = {**source.label_schemes, **parts.label_schemes}
            words += ["--label_schemes", json.dumps(schemes)]
    return shlex.join(["brainmvp", "prepare", *words])


def _prepare_words(argv: list[str]) -> list[str]:
    own = {"--json", "--html", "--write_manifest", "--max_rows", "--time_studies"}
    kept, skip = [], False
    for word in argv:
        name = word.partition("=")[0]
        if not skip and name not in own | {"--quick", "--strict"}:
            kept.append(word)
        skip = name in own and "=" not in word and not skip
    return kept


def _fail(error: Exception | str, code: int) -> int:
    sys.stderr.write(f"brainmvp doctor: {error}\n")
    return code


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
