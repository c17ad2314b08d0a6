"""Per-case results as tables whose columns sort, several runs side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from brainmvp_lightning.evaluation.class_tables import ClassScore
from brainmvp_lightning.evaluation.tables import CaseScore
from brainmvp_lightning.reports.markup import score
from brainmvp_lightning.reports.privacy import Privacy

MOST_ROWS = 1500
_MODALITIES = 2  # the column of what the network was given


@dataclass(frozen=True)
class CaseTable:
    """A sortable table, whose first columns are case, data set and modalities.

    Attributes:
        heads: Of the columns.
        rows: Cells as plain text, the worst case first.
        filters: Columns that the reader can pick a value of.
    """

    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    filters: tuple[int, ...] = (1, _MODALITIES, 3)

    def to_html(self) -> str:
        """Return the table with its filters; what exceeds `MOST_ROWS` is counted below it.

        Complete cases, which the page shows first, have precedence over their subsets.
        """
        heads = "".join(
            f'<th scope="col" aria-sort="none"><button type="button">{escape(head)}</button></th>'
            for head in self.heads
        )
        most = self._most_modalities()
        body = "".join(
            f"<tr{self._mark(row, most)}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._kept(most)
        )
        more = len(self.rows) - MOST_ROWS
        rest = (
            f'<p class="hint">{more} more rows are left out: those with subsets of modalities '
            "before others, those with better scores before worse ones.</p>"
            if more > 0
            else ""
        )
        return (
            f'<div class="cases">{"".join(map(self._filter, self.filters))}'
            f'<div class="wide tall" tabindex="0" role="region" aria-label="Cases">'
            f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
            f"</div>{rest}</div>"
        )

    def _kept(self, most: Mapping[tuple[str, ...], int]) -> list[tuple[str, ...]]:
        order = sorted(range(len(self.rows)), key=lambda i: bool(self._mark(self.rows[i], most)))
        return [self.rows[i] for i in sorted(order[:MOST_ROWS])]

    def _most_modalities(self) -> dict[tuple[str, ...], int]:
        most: dict[tuple[str, ...], int] = {}
        for row in self.rows:
            most[row[:2]] = max(row[_MODALITIES].count("+"), most.get(row[:2], 0))
        return most

    @staticmethod
    def _mark(row: tuple[str, ...], most: Mapping[tuple[str, ...], int]) -> str:
        """Mark rows of a case with fewer modalities than it has."""
        return ' class="part"' if row[_MODALITIES].count("+") < most[row[:2]] else ""

    def _filter(self, column: int) -> str:
        values = list(dict.fromkeys(row[column] for row in self.rows))
        if len(values) < 2:
            return ""
        values.sort(key=lambda value: (-value.count("+"), value))
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        if column == _MODALITIES:
            options = f'<option value="*" selected>all that a case has</option>{options}'
        return (
            f'<label>{escape(self.heads[column])} <select data-column="{column}">'
            f'<option value="">any</option>{options}</select></label> '
        )


def segmentation_table(
    runs: Sequence[tuple[str, Sequence[CaseScore]]], privacy: Privacy
) -> CaseTable:
    """Return a row for each case, subset of modalities and region, with columns for each run.

    Where cases were scored on several grids there is a row and a column for these, too.
    """
    found: dict[tuple[str, ...], list[CaseScore | None]] = {}
    for number, (_, rows) in enumerate(runs):
        for row in rows:
            key = (row.dataset, row.study, row.modalities, row.region, row.space)
            found.setdefault(key, [None] * len(runs))[number] = row
    ordered = sorted(found.items(), key=lambda item: (_worst(item[1]), item[0]))
    has_grids = len({key[4] for key in found}) > 1
    grid_head = ["grid"] if has_grids else []
    heads = ["case", "data set", "modalities", "region", *grid_head, "annotated ml"]
    for name, _ in runs:
        owner = f"{name}: " if len(runs) > 1 else ""
        heads += [
            f"{owner}{head}"
            for head in ("Dice", "HD95 mm", "predicted ml", "lesions found", "invented", "outcome")
        ]
    body = []
    for (dataset, study, modalities, region, space), scores in ordered:
        truth = next(row.truth_ml for row in scores if row is not None)
        grid = [space] if has_grids else []
        cells = [privacy.case(study), dataset, modalities, region, *grid, f"{truth:.2f}"]
        body.append((*cells, *(cell for row in scores for cell in _segmented(row))))
    return CaseTable(tuple(heads), body, (1, _MODALITIES, 3, 4)[: 3 + has_grids])


def class_table(runs: Sequence[tuple[str, Sequence[ClassScore]]], privacy: Privacy) -> CaseTable:
    """Return a row for each case and subset of modalities, with columns for each run."""
    found: dict[tuple[str, ...], list[ClassScore | None]] = {}
    for number, (_, rows) in enumerate(runs):
        for row in rows:
            key = (row.dataset, row.study, row.modalities, row.truth)
            found.setdefault(key, [None] * len(runs))[number] = row
    ordered = sorted(found.items(), key=lambda item: (_least_sure(item[1]), item[0]))
    heads = ["case", "data set", "modalities", "class"]
    for name, _ in runs:
        owner = f"{name}: " if len(runs) > 1 else ""
        heads += [f"{owner}{head}" for head in ("predicted", "p of the class", "right")]
    body = []
    for (dataset, study, modalities, truth), answers in ordered:
        cells = [privacy.case(study), dataset, modalities, truth]
        body.append((*cells, *(cell for row in answers for cell in _classified(row))))
    return CaseTable(tuple(heads), body)


def _segmented(row: CaseScore | None) -> tuple[str, ...]:
    if row is None:
        return ("",) * 6
    return (
        score(row.dice),
        score(row.hd95_mm, 1),
        f"{row.prediction_ml:.2f}",
        f"{row.found_lesions}/{row.lesions}",
        str(row.invented_lesions),
        row.outcome.replace("_", " "),
    )


def _classified(row: ClassScore | None) -> tuple[str, ...]:
    if row is None:
        return ("",) * 3
    is_right = "yes" if row.predicted == row.truth else "no"
    return row.predicted, score(row.probabilities[row.truth]), is_right


def _worst(rows: Iterable[CaseScore | None]) -> float:
    return min((r.dice for r in rows if r is not None and not math.isnan(r.dice)), default=math.inf)


def _least_sure(rows: Iterable[ClassScore | None]) -> float:
    return min(row.probabilities[row.truth] for row in rows if row is not None)
