"""``brainmvp prepare``: from NIfTI files to the cache that training reads."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.commands.parsing import TeachingParser, make_parser
from brainmvp_lightning.commands.prepare_report import show_problems, show_summary
from brainmvp_lightning.commands.progress import show_progress
from brainmvp_lightning.preprocessing.labels import check_schemes
from brainmvp_lightning.preprocessing.pipeline import Options, prepare
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.selection import exclude, freeze_splits
from brainmvp_lightning.preprocessing.steps import check_tools
from brainmvp_lightning.preprocessing.summary import Summary
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.studies.labels import LabelScheme, label_schemes
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.splits import check_ratios
from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.shards import Shard

SUMMARY = "turn the NIfTI files of a data set into the cache that training reads"


def main(argv: list[str]) -> int:
    """Run the command.

    Returns:
        0 if the cache holds studies (or a shard has done its part), 1 if nothing was usable or
        writing failed, 2 for a wrong call, 130 if it was interrupted.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    try:
        parts = parser.instantiate_classes(options)
        vocabulary = ModalityVocabulary(parts.extra_modalities)
        shard = None if parts.shard is None else Shard.parse(parts.shard)
        check_tools(parts.recipe)
        manifest, schemes = _find_scans(parts, vocabulary, console)
    except (ValueError, OSError, MissingToolError) as error:
        return _fail(error, code=2)
    started = time.monotonic()
    try:
        summary = _prepare(
            parts, vocabulary, manifest, Options(parts.scheduler, shard, schemes), console
        )
    except (CacheError, ValueError, MissingToolError) as error:
        return _fail(error, code=1)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again, finished studies are kept", 130)
    show_problems(console, summary, Path(parts.cache))
    show_summary(console, summary, Path(parts.cache), time.monotonic() - started)
    return 0 if summary.num_studies or summary.num_waiting else 1


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
    _add_selection(parser)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument(
        "--scheduler",
        type=str | None,
        default=None,
        help="address or scheduler file of a Dask scheduler whose workers do the work",
    )
    parser.add_argument(
        "--shard",
        type=str | None,
        default=None,
        help="part of the job such as 2/8; the parts may run at once, the last one completes "
        "the cache",
    )
    parser.add_argument(
        "--verify",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="check all stored volumes, redo damaged ones",
    )
    return parser


def _add_selection(parser: TeachingParser) -> None:
    parser.add_argument(
        "--label_schemes",
        type=dict[str, Any],
        default={},
        help="more meanings of annotations, each with values and regions",
    )
    parser.add_argument(
        "--exclude",
        type=str | None,
        default=None,
        help="CSV table of studies to leave out: patient[, session][, dataset][, reason]",
    )
    parser.add_argument(
        "--splits",
        type=str | None,
        default=None,
        help="CSV table of frozen splits: patient, split[, dataset]",
    )
    parser.add_argument(
        "--split_ratios",
        type=tuple[float, float, float],
        default=(6.0, 1.0, 3.0),
        help="shares of train, val and test for patients without a given split",
    )
    parser.add_argument("--split_seed", type=int, default=0, help="another one deals them anew")


def _find_scans(
    parts: Namespace, vocabulary: ModalityVocabulary, console: Console
) -> tuple[Manifest, dict[str, LabelScheme]]:
    unknown = [name for name in parts.recipe.reference if name not in vocabulary.names]
    if unknown:
        raise ValueError(
            f"recipe.reference names {', '.join(unknown)}; known are {', '.join(vocabulary.names)}"
        )
    check_ratios(parts.split_ratios)
    label_schemes(parts.label_schemes)
    source: Adapter = parts.source
    with show_progress(console, "source", "studies") as report:
        source.progress = report
        scans = source.scans(vocabulary)
    manifest = Manifest(tuple(scans), tuple(source.problems))
    if parts.splits is not None:  # first, so that it knows the patients that are left out
        manifest = freeze_splits(manifest, parts.splits)
    if parts.exclude is not None:
        manifest = exclude(manifest, parts.exclude)
    schemes = label_schemes({**source.label_schemes, **parts.label_schemes})
    check_schemes(manifest.scans, schemes)
    return manifest.validate().with_splits(parts.split_ratios, parts.split_seed), schemes


def _prepare(
    parts: Namespace,
    vocabulary: ModalityVocabulary,
    manifest: Manifest,
    options: Options,
    console: Console,
) -> Summary:
    with show_progress(console, "prepare", "studies") as report:
        return prepare(
            manifest,
            parts.cache,
            parts.recipe,
            vocabulary,
            workers=parts.workers,
            verify=parts.verify,
            progress=report,
            options=replace(options, watch=report.watch),
        )


def _fail(error: Exception | str, code: int) -> int:
    sys.stderr.write(f"brainmvp prepare: {error}\n")
    return code
