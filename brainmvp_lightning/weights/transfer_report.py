"""What became of pre-trained weights, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brainmvp_lightning.weights.stem import StemPolicy

Fate = Literal[
    "loaded",
    "adapted",
    "adapted, channel order unknown",
    "adapted, positions interpolated",
    "reinitialised",
    "missing",
    "other shape",
    "not finite",
    "other head",
    "other outputs",
]


@dataclass(frozen=True)
class TensorFate:
    """What became of one tensor of the new network."""

    part: Literal["backbone", "head"]
    name: str
    shape: tuple[int, ...]
    status: Fate
    source: str | None
    """Name in the file, with the part it belongs to; None if the file has none."""
    found: tuple[int, ...] | None
    """Shape in the file."""

    @property
    def is_filled(self) -> bool:
        """Whether it holds pre-trained values now."""
        return self.status == "loaded" or self.is_adapted

    @property
    def is_adapted(self) -> bool:
        """Whether it holds pre-trained values that were fitted to the new network."""
        return self.status.startswith("adapted")

    def __str__(self) -> str:
        """Return the name and, unless it was simply loaded, the reason."""
        if self.is_adapted and self.found == self.shape:
            return self.name
        if self.status == "other shape" or self.is_adapted:
            return f"{self.name} ({_shape(self.found)} in the file, {_shape(self.shape)} here)"
        return self.name if self.status == "loaded" else f"{self.name} ({self.status})"


@dataclass(frozen=True)
class TransferReport:
    """How pre-trained weights and a new network fit together."""

    path: Path
    title: str
    """What kind of file it is."""
    network: str
    """The backbone of the file, in words."""
    stem: StemPolicy
    fates: tuple[TensorFate, ...]
    """One for each tensor of the backbone and the head, in their order."""
    unused: tuple[str, ...]
    """Names in the file that nothing was taken from."""
    notes: tuple[str, ...] = ()
    """Sentences about what was assumed, and about what does not agree."""

    @property
    def coverage(self) -> float:
        """Share of the backbone's tensors that were filled, in [0, 1].

        First layers that are left as initialised on purpose do not count.
        """
        asked = [f for f in self.of("backbone") if f.status != "reinitialised"]
        return sum(fate.is_filled for fate in asked) / max(len(asked), 1)

    @property
    def usage(self) -> float:
        """Share of the file's encoder that has a place in the backbone, in [0, 1].

        Shows a deeper network, whose first layers alone would fill the backbone.
        """
        placed = sum(f.is_filled or f.status == "reinitialised" for f in self.of("backbone"))
        left = sum(name.startswith("encoder.") for name in self.unused)
        return placed / max(placed + left, 1)

    def of(self, part: Literal["backbone", "head"]) -> list[TensorFate]:
        """Return what became of the tensors of one part."""
        return [fate for fate in self.fates if fate.part == part]

    def __str__(self) -> str:
        """Return a few lines: counts, coverage, and the first tensors that were left out."""
        lines = [f"weights: {self.path} ({self.title}, {self.network})"]
        for part in ("backbone", "head"):
            lines += _summary(part, self.of(part), self.stem, self.coverage)
        lines += [f"  note: {note}" for note in self.notes]
        if self.unused:
            lines.append(f"  not used: {len(self.unused)} of the file: {first_names(self.unused)}")
        return "\n".join(lines)

    def to_table(self) -> str:
        """Return a row for each tensor as tab-separated text, with a header."""
        rows = [("part", "tensor", "shape", "status", "from", "shape in the file")]
        rows += [
            (f.part, f.name, _shape(f.shape), f.status, f.source or "-", _shape(f.found))
            for f in self.fates
        ]
        rows += [("-", "-", "-", "not used", name, "-") for name in self.unused]
        return "".join("\t".join(row) + "\n" for row in rows)


def first_names(names: Sequence[str], limit: int = 3) -> str:
    """Return the first names as text, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _summary(
    part: str, fates: Sequence[TensorFate], policy: StemPolicy, coverage: float
) -> list[str]:
    if not fates:
        return []
    filled = [fate for fate in fates if fate.is_filled]
    share = f" ({coverage:.1%})" if part == "backbone" else ""
    lines = [f"  {part}: {len(filled)} of {len(fates)} tensors loaded{share}"]
    for status in dict.fromkeys(fate.status for fate in fates if fate.is_adapted):
        adapted = [str(fate) for fate in fates if fate.status == status]
        how = f"{status} ({policy})" if status == "adapted" else status
        lines.append(f"    {how}: {first_names(adapted)}")
    left = [str(fate) for fate in fates if not fate.is_filled]
    if left:
        lines.append(f"    left as initialised: {len(left)}: {first_names(left)}")
    return lines


def _shape(shape: Sequence[int] | None) -> str:
    return "-" if shape is None else "x".join(map(str, shape)) or "scalar"
