"""From a manifest to a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainmvp_lightning.doctor.examination import Examiner, Progress, examine
from brainmvp_lightning.doctor.facts import StudyFacts
from brainmvp_lightning.doctor.findings import Finding
from brainmvp_lightning.doctor.prediction import Load, choose_samples, predict, time_prepare
from brainmvp_lightning.doctor.report import Report, make_report
from brainmvp_lightning.doctor.rows import Rows, check_rows, usable_manifest
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.steps import check_tools
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.studies.labels import LabelScheme, label_schemes
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.journal import JOURNALS
from brainmvp_lightning.volumes.writer import differing_settings

ShowProgress = Callable[[str, str], AbstractContextManager[Progress]]


def _count_nothing(done: int, total: int) -> None:
    pass


def _say_nothing(title: str, unit: str) -> AbstractContextManager[Progress]:
    del title, unit
    return nullcontext(_count_nothing)


@dataclass(frozen=True)
class Settings:
    """What is looked at, and how it will be prepared.

    Args:
        recipe: Of prepare.
        vocabulary: Modality names.
        schemes: Label schemes by name.
        split_ratios: Shares of patients without a given split.
        split_seed: Deals them.
        quick: Read headers only.
        workers: Processes, here and for the estimates.
        num_timed: Studies that are really prepared to scale the estimates; none if `quick`.
        cache: Where the cache will be, if that is known.
    """

    recipe: Recipe = field(default_factory=Recipe)
    vocabulary: ModalityVocabulary = field(default_factory=ModalityVocabulary)
    schemes: Mapping[str, LabelScheme] = field(default_factory=label_schemes)
    split_ratios: tuple[float, float, float] = (6.0, 1.0, 3.0)
    split_seed: int = 0
    quick: bool = False
    workers: int = 2
    num_timed: int = 3
    cache: Path | None = None


@dataclass(frozen=True)
class Diagnosis:
    """A report, and what it is about.

    Args:
        report: What was found.
        rows: The manifest that was looked at.
        studies: Its studies, in the order of ``report.studies``.
    """

    report: Report
    rows: Rows
    studies: tuple[Study, ...]

    def checked_manifest(self) -> Manifest:
        """Return the rows that no error speaks against."""
        return usable_manifest(self.rows.manifest, self.report.findings, self.rows.contested)


def diagnose(
    manifest: Manifest,
    settings: Settings,
    *,
    source: str,
    is_table: bool = True,
    progress: ShowProgress = _say_nothing,
) -> Diagnosis:
    """Look at every row, file, label and study, and at the cohort as a whole.

    With several workers, a script that calls this needs the usual
    ``if __name__ == "__main__"``.

    Args:
        manifest: As it was read; contradictions and repetitions become findings.
        settings: How.
        source: What is looked at, in words.
        is_table: The user wrote the rows; otherwise an adapter found the files.
        progress: Shows a step, given its name and its unit, while its context is open.
    """
    rows = check_rows(manifest, is_table=is_table)
    dealt = rows.manifest.with_splits(settings.split_ratios, settings.split_seed)
    studies = dealt.studies(modalities=settings.vocabulary.names)
    examiner = Examiner(settings.recipe, settings.schemes, settings.quick)
    with progress("look", "studies") as report_progress:
        facts = examine(studies, examiner, settings.workers, report_progress)
    missing_tools = check_recipe(settings.recipe, settings.cache)
    is_timed = not settings.quick and not any(row.kind == "tool" for row in missing_tools)
    count = settings.num_timed if is_timed else 0
    with progress("time", "studies") if count else nullcontext(_count_nothing) as report_progress:
        timed = _time(studies, facts, settings.recipe, count, report_progress)
    prediction = predict(facts, timed, settings.recipe, settings.workers, settings.cache)
    report = make_report(
        source,
        facts,
        [*rows.findings, *missing_tools],
        settings.schemes,
        settings.vocabulary.names,
        prediction,
        quick=settings.quick,
    )
    return Diagnosis(report, replace(rows, manifest=dealt), tuple(studies))


def check_recipe(recipe: Recipe, cache: Path | None) -> list[Finding]:
    """Find programs that the recipe needs and that are not there, and a cache of another recipe."""
    findings = []
    try:
        check_tools(recipe)
    except (MissingToolError, ValueError) as error:
        fix = "install it, or change the recipe"
        findings.append(Finding("tool", "error", "", "", str(error), fix))
        return findings
    made_by = None if cache is None else _recipe_of(cache)
    changes = [] if made_by is None else differing_settings(made_by, recipe.to_json())
    if changes:
        text = f"{cache} holds a cache of another recipe ({'; '.join(changes)})"
        findings.append(Finding("cache", "error", "", str(cache), text, "choose another --cache"))
    return findings


def _recipe_of(cache: Path) -> dict[str, Any] | None:
    """Return the settings that a cache, finished or not, was begun with; None if there is none."""
    for journal in sorted(cache.glob(JOURNALS)):
        with journal.open(encoding="utf-8") as file:
            first = file.readline()
        try:
            recipe: dict[str, Any] = json.loads(first)["recipe"]
        except (json.JSONDecodeError, KeyError):
            continue  # cut by a crash
        return recipe
    return None


def _time(
    studies: list[Study], facts: list[StudyFacts], recipe: Recipe, count: int, progress: Progress
) -> list[tuple[StudyFacts, Load]]:
    by_id = {study.id: study for study in studies}
    samples = choose_samples(facts, recipe, count) if count else []
    timed = []
    for done, sample in enumerate(samples, start=1):
        load = time_prepare(by_id[sample.id], recipe)
        if load is not None:
            timed.append((sample, load))
        progress(done, len(samples))
    return timed
