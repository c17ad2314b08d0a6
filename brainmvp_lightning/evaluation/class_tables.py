"""Answers of a classification test run as CSV, a row per case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.evaluation.csv_files import (
    check_columns,
    check_unique,
    parse_number,
    parse_rows,
    read_csv,
    write_csv,
)

_COLUMNS = ("study", "dataset", "split", "modalities", "truth", "predicted")
_PROBABILITY = "p_"
_ROUNDING = 1e-5  # of a softmax in single precision


@dataclass(frozen=True)
class ClassScore:
    """One classified study of a test run.

    Attributes:
        study: Its id.
        dataset: Data set it belongs to.
        split: Such as ``test``; may be empty.
        modalities: What the model was given, such as ``t1+t2``.
        truth: Name of its class.
        predicted: Name of the class that was answered.
        probabilities: Of each class, in the model's order.
    """

    study: str
    dataset: str
    split: str
    modalities: str
    truth: str
    predicted: str
    probabilities: Mapping[str, float]

    @classmethod
    def of(
        cls,
        probabilities: Sequence[float],
        classes: Sequence[str],
        *,
        truth: str,
        study: str,
        dataset: str,
        modalities: Sequence[str],
        split: str = "",
    ) -> ClassScore:
        """Return the row of a model's answer; the likeliest class is the predicted one."""
        named = dict(zip(classes, map(float, probabilities), strict=True))
        likeliest = max(named, key=named.__getitem__)
        return cls(study, dataset, split, "+".join(modalities), truth, likeliest, named)


def write_classes(path: Path, rows: Iterable[ClassScore]) -> None:
    """Write the answers of a run; a crash leaves the old file or the new one, never a part.

    Raises:
        ValueError: If a study is there twice for the same modalities, or classes differ.
        OSError: If the file cannot be written.
    """
    ordered = sort_classes(rows)
    columns = (*_COLUMNS, *(_PROBABILITY + name for name in class_names(ordered)))
    write_csv(path, columns, (_cells(row) for row in ordered))


def read_classes(path: Path) -> list[ClassScore]:
    """Read what `write_classes` wrote; all floats are those that were written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or something else; the message names line and fault.
    """
    header, lines = read_csv(path)
    names = [column.removeprefix(_PROBABILITY) for column in header[len(_COLUMNS) :]]
    check_columns(path, header, (*_COLUMNS, *(_PROBABILITY + name for name in names)))

    def parse(cells: list[str]) -> ClassScore:
        study, dataset, split, modalities, truth, predicted, *values = cells
        probabilities = dict(zip(names, map(parse_number, values), strict=True))
        row = ClassScore(study, dataset, split, modalities, truth, predicted, probabilities)
        _check(row, names)
        return row

    return parse_rows(path, lines, len(header), parse)


def sort_classes(rows: Iterable[ClassScore]) -> list[ClassScore]:
    """Sort by data set and study.

    Raises:
        ValueError: If a study is there twice for the same modalities.
    """
    ordered = sorted(rows, key=lambda row: (row.dataset, row.study, row.modalities))
    check_unique((row.dataset, row.study, row.modalities) for row in ordered)
    return ordered


def class_names(rows: Sequence[ClassScore]) -> tuple[str, ...]:
    """Return the classes of the rows in the model's order; none without rows.

    Raises:
        ValueError: If rows differ in them, name another class, or hold what is no probability.
    """
    classes = tuple(rows[0].probabilities) if rows else ()
    if rows and len(classes) < 2:
        raise ValueError(f"the answers know {len(classes)} class; classification needs two or more")
    for row in rows:
        _check(row, classes)
    return classes


def _check(row: ClassScore, classes: Sequence[str]) -> None:
    if list(row.probabilities) != list(classes) or not {row.truth, row.predicted} <= set(classes):
        raise ValueError(
            f"study {row.study!r} is of class {row.truth!r}, was called {row.predicted!r} and "
            f"has probabilities of {', '.join(row.probabilities)}; expected {', '.join(classes)}"
        )
    for name, value in row.probabilities.items():
        if not 0 <= value <= 1 + _ROUNDING:
            raise ValueError(
                f"study {row.study!r} has probability {value} of class {name!r}; it must lie in "
                "[0, 1], apply softmax to logits and look for NaN in training"
            )


def _cells(row: ClassScore) -> Iterable[object]:
    given = (row.study, row.dataset, row.split, row.modalities, row.truth, row.predicted)
    return (*given, *row.probabilities.values())
