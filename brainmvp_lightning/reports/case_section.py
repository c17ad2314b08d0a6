"""Results case by case: counts, distributions, the worst ones in pictures, and all in a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from brainmvp_lightning.evaluation.headline import with_most_modalities
from brainmvp_lightning.reports.budget import Budget
from brainmvp_lightning.reports.case_counts import counts_of_classes, counts_of_regions
from brainmvp_lightning.reports.case_tables import class_table, segmentation_table
from brainmvp_lightning.reports.charts import dot_plot
from brainmvp_lightning.reports.images import ANNOTATION_COLOURS, PREDICTION_COLOURS, draw_planes
from brainmvp_lightning.reports.markup import picture, swatch
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import Run
from brainmvp_lightning.reports.small_volumes import WorstCase

Worst = Sequence[tuple[Run, str, WorstCase]]
_EVERY = "<h3>Every case, the worst first</h3>"


def write_segmentation(runs: Sequence[Run], privacy: Privacy) -> tuple[str, str]:
    """Return counts with distributions, and the table of all cases, of segmentation tests."""
    tested = [(run.name, run.cases) for run in runs if run.cases]
    if not tested:
        return "", ""
    regions = dict.fromkeys(row.region for _, rows in tested for row in rows)
    groups = [
        (region, [(i, _dice(run, region)) for i, run in enumerate(runs) if run.cases])
        for region in regions
    ]
    plot = dot_plot("Dice of each case with all its modalities", groups) + _runs_legend(runs)
    cases = segmentation_table(tested, privacy).to_html()
    return f'{counts_of_regions(tested)}<div class="wide">{plot}</div>', f"{_EVERY}{cases}"


def write_classification(runs: Sequence[Run], privacy: Privacy) -> tuple[str, str]:
    """Return counts with distributions, and the table of all cases, of classification tests."""
    tested = [(run.name, run.classes) for run in runs if run.classes]
    if not tested:
        return "", ""
    classes = dict.fromkeys(row.truth for _, rows in tested for row in rows)
    groups = [
        (name, [(i, _certainty(run, name)) for i, run in enumerate(runs) if run.classes])
        for name in classes
    ]
    title = "Probability of the true class, with all modalities"
    plot = dot_plot(title, groups) + _runs_legend(runs)
    cases = class_table(tested, privacy).to_html()
    return f'{counts_of_classes(tested)}<div class="wide">{plot}</div>', f"{_EVERY}{cases}"


def write_worst(worst: Worst, budget: Budget, privacy: Privacy) -> str:
    """Return a picture of each worst case: image, annotation and prediction in three planes."""
    figures = []
    for run, study, case in worst:
        name = f"{run.name}: {privacy.case(study)}"
        overlays = {key: volume.array for key, volume in case.overlays.items()}
        content = draw_planes(case.image.array, overlays, case.image.voxel_mm)
        text = budget.take(content, f"picture of {name}")
        if text is None:
            continue
        scores = ", ".join(f"{region} {_dice_word(value)}" for region, value in case.dice.items())
        rows = " / ".join((case.modality or "image", *overlays))
        figures.append(
            f'<figure data-scene="{escape(name)}"><figcaption><b>{escape(name)}</b> '
            f"Dice {escape(scores)}<br>"
            f'<span class="hint">{escape(rows)}</span></figcaption>'
            f"{picture(text, f'{name}: {rows}')}{_legend(case)}</figure>"
        )
    if not figures:
        return ""
    return f'<h3>Worst cases</h3><div class="figures">{"".join(figures)}</div>'


def _legend(case: WorstCase) -> str:
    marks = []
    colours = {"annotation": ANNOTATION_COLOURS, "prediction": PREDICTION_COLOURS}
    for kind, volume in case.overlays.items():
        present = set(np.unique(volume.array).tolist())
        for value, name in enumerate(case.names[1:], start=1):
            if value in present or len(case.names) <= 5:
                red, green, blue = colours[kind][(value - 1) % 4]
                marks.append(
                    f'<span><i class="swatch" style="background:rgb({red},{green},{blue})"></i>'
                    f"{escape(name)} ({kind})</span>"
                )
    return f'<p class="legend">{"".join(marks)}</p>' if marks else ""


def _dice(run: Run, region: str) -> list[float]:
    rows = with_most_modalities(run.cases)
    return [row.dice for row in rows if row.region == region and row.dice == row.dice]


def _certainty(run: Run, name: str) -> list[float]:
    rows = with_most_modalities(run.classes)
    return [row.probabilities[name] for row in rows if row.truth == name]


def _runs_legend(runs: Sequence[Run]) -> str:
    tested = [(i, run.name) for i, run in enumerate(runs) if run.cases or run.classes]
    marks = "".join(f"<span>{swatch(i)}{escape(name)}</span>" for i, name in tested)
    return f'<p class="legend">{marks}</p>' if len(tested) > 1 else ""


def _dice_word(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
