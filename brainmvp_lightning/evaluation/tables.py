"""Scores of a segmentation test run as CSV, a row per case and region."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from brainmvp_lightning.evaluation.csv_files import (
    check_columns,
    check_unique,
    parse_number,
    parse_rows,
    read_csv,
    write_csv,
)
from brainmvp_lightning.evaluation.segmentation import OUTCOMES, Outcome, RegionScore


@dataclass(frozen=True)
class CaseScore:
    """One region of one study of a test run; also the columns of its table.

    Attributes:
        study: Its id.
        dataset: Data set it belongs to.
        split: Such as ``test``; may be empty.
        modalities: What the model was given, such as ``t1+t2``.
        region: Name of the region.
        space: ``native`` for the grid of the annotation's file, ``prepared`` for the cache's.
        dice: In [0, 1]; NaN, an empty cell, if the rule for empty regions leaves it out.
        hd95_mm: Surface distance; NaN likewise.
        outcome: See `RegionScore`.
        truth_ml: Annotated volume.
        prediction_ml: Predicted volume.
        lesions: Annotated lesions, see `LesionCounts`.
        found_lesions: Those of them that were found.
        invented_lesions: Predicted lesions that touch no annotated one.
    """

    study: str
    dataset: str
    split: str
    modalities: str
    region: str
    space: str
    dice: float
    hd95_mm: float
    outcome: Outcome
    truth_ml: float
    prediction_ml: float
    lesions: int = 0
    found_lesions: int = 0
    invented_lesions: int = 0

    @classmethod
    def of(
        cls,
        score: RegionScore,
        *,
        study: str,
        dataset: str,
        modalities: Sequence[str],
        space: str,
        split: str = "",
    ) -> CaseScore:
        """Return the row of a region's score; `modalities` are those given to the model."""
        return cls(
            study=study,
            dataset=dataset,
            split=split,
            modalities="+".join(modalities),
            region=score.region,
            space=space,
            dice=score.dice,
            hd95_mm=score.hd95_mm,
            outcome=score.outcome,
            truth_ml=score.truth_ml,
            prediction_ml=score.prediction_ml,
            lesions=score.lesions.lesions,
            found_lesions=score.lesions.found,
            invented_lesions=score.lesions.invented,
        )


COLUMNS = tuple(field.name for field in fields(CaseScore))


def write_cases(path: Path, rows: Iterable[CaseScore]) -> None:
    """Write the scores of a run; a crash leaves the old file or the new one, never a part.

    Rows are sorted by study, so that the file does not depend on the number of processes.

    Raises:
        ValueError: If a region of a study was scored twice for the same modalities.
        OSError: If the file cannot be written.
    """
    write_csv(path, COLUMNS, (astuple(row) for row in sort_cases(rows)))


def read_cases(path: Path) -> list[CaseScore]:
    """Read what `write_cases` wrote; all floats are those that were written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or something else; the message names line and fault.
    """
    header, lines = read_csv(path)
    check_columns(path, header, COLUMNS)
    return parse_rows(path, lines, len(COLUMNS), _parse)


def sort_cases(rows: Iterable[CaseScore]) -> list[CaseScore]:
    """Sort by data set and study; the regions of a study keep their order.

    Raises:
        ValueError: If a region of a study was scored twice for the same modalities.
    """
    ordered = sorted(rows, key=lambda row: (row.dataset, row.study, row.modalities, row.space))
    check_unique((r.dataset, r.study, r.modalities, r.space, r.region) for r in ordered)
    return ordered


def _parse(cells: list[str]) -> CaseScore:
    study, dataset, split, modalities, region, space, dice, hd95_mm, outcome, *rest = cells
    truth_ml, prediction_ml, *counts = rest
    lesions, found, invented = map(int, counts)
    return CaseScore(
        study,
        dataset,
        split,
        modalities,
        region,
        space,
        _parse_score(dice),
        _parse_score(hd95_mm),
        _parse_outcome(outcome),
        parse_number(truth_ml),
        parse_number(prediction_ml),
        lesions,
        found,
        invented,
    )


def _parse_score(cell: str) -> float:
    return parse_number(cell) if cell else math.nan


def _parse_outcome(cell: str) -> Outcome:
    for name in OUTCOMES:
        if name == cell:
            return name
    raise ValueError(f"outcome {cell!r} is none of {', '.join(OUTCOMES)}")
