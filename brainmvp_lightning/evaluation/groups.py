"""Which cases belong in one average."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Case(Protocol):
    """What any row of a test run tells."""

    @property
    def study(self) -> str:
        """Its id."""

    @property
    def dataset(self) -> str:
        """Data set it belongs to."""

    @property
    def modalities(self) -> str:
        """What the model was given."""


AnyCase = TypeVar("AnyCase", bound=Case)


@dataclass(frozen=True)
class Group(Generic[AnyCase]):
    """Rows that are averaged.

    Attributes:
        dataset: Their data set; None if there are several.
        modalities: What the model was given, such as ``t1+t2``; None if each study was given
            what it has.
        rows: In their order.
    """

    dataset: str | None
    modalities: str | None
    rows: list[AnyCase]


def group_rows(rows: Sequence[AnyCase]) -> list[Group[AnyCase]]:
    """Group rows by what the model was given, and by data set; the largest group comes first.

    A study that was scored with several subsets of its modalities must not count several times in
    one average: then each subset is a group. Else all studies are a group, too. Several data sets
    in a group are its further groups.
    """
    subsets = _distinct(row.modalities for row in rows)
    subsets.sort(key=lambda subset: -subset.count("+"))
    cases = {(row.dataset, row.study) for row in rows}
    given = {(row.dataset, row.study, row.modalities) for row in rows}
    groups: list[Group[AnyCase]] = []
    if len(subsets) > 1 and len(given) == len(cases):
        groups += _with_datasets(None, rows)
    for subset in subsets:
        groups += _with_datasets(subset, [row for row in rows if row.modalities == subset])
    return groups


def _with_datasets(modalities: str | None, rows: Sequence[AnyCase]) -> list[Group[AnyCase]]:
    datasets = _distinct(row.dataset for row in rows)
    if len(datasets) == 1:
        return [Group(datasets[0], modalities, list(rows))]
    return [
        Group(None, modalities, list(rows)),
        *(Group(d, modalities, [row for row in rows if row.dataset == d]) for d in datasets),
    ]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
