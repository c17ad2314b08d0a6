"""Means over the cases of all processes, whatever their number on each."""

from __future__ import annotations

from brainmvp_lightning.tasks.gathering import gather_rows


class CaseMeans:
    """Sums and counts by name.

    A mean of the processes' means would be wrong where they have different numbers of cases.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[str, float]] = []

    def add(self, name: str, value: float) -> None:
        """Add the value of a case."""
        self._rows.append((name, value))

    def reduce(self) -> dict[str, float]:
        """Return the mean of each name over all processes, which all must call this."""
        values: dict[str, list[float]] = {}
        for name, value in gather_rows(self._rows):
            values.setdefault(name, []).append(value)
        return {name: sum(found) / len(found) for name, found in values.items()}
