"""From the values in annotations of any release to what a network learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.studies.labels import LabelScheme

BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class LabelTargets:
    """Classes and regions that annotations of several label schemes share.

    Structures that belong to the same regions are one class, so releases that cut a structure up
    differently, or number it differently, agree. Classes are ordered from the outside to the
    inside: by the number of their regions, then by the first of them. What belongs to no region is
    background.

    Attributes:
        region_names: What is segmented and scored, in the order of the first scheme.
        names: Structures behind each class; those of several schemes are joined by ``/``.
        membership: Which class belongs to which region, ``r k``, uint8; class 0 to none.
        classes_by_scheme: For each scheme the class of each value in the file.
    """

    region_names: tuple[str, ...]
    names: tuple[str, ...]
    membership: NDArray[np.uint8]
    classes_by_scheme: dict[str, NDArray[np.uint8]]

    @classmethod
    def of(cls, schemes: Sequence[LabelScheme]) -> LabelTargets:
        """Find what the schemes share.

        Raises:
            ValueError: If there is none, or they have different regions.
        """
        names = _shared_regions(schemes)
        structures: dict[tuple[int, ...], list[str]] = {}
        for scheme in schemes:
            for part, regions in _regions_of(scheme, names).items():
                found = structures.setdefault(regions, [])
                if regions and part not in found:
                    found.append(part)
        classes = sorted(structures.keys() | {()}, key=lambda regions: (len(regions), regions))
        membership = np.zeros((len(names), len(classes)), np.uint8)
        for number, regions in enumerate(classes):
            membership[list(regions), number] = 1
        return cls(
            region_names=names,
            names=(BACKGROUND, *("/".join(structures[regions]) for regions in classes[1:])),
            membership=membership,
            classes_by_scheme={
                scheme.name: _table(scheme, _regions_of(scheme, names), classes)
                for scheme in schemes
            },
        )

    def regions(self) -> tuple[tuple[str, ...], ...]:
        """Return for each class the regions it belongs to."""
        return tuple(
            tuple(name for name, member in zip(self.region_names, column, strict=True) if member)
            for column in self.membership.T
        )

    def values(self) -> tuple[int, ...]:
        """Return the value that each class has in the files.

        Empty if a class joins several structures, or the schemes number it differently.
        """
        tables = self.classes_by_scheme.values()
        values = [0]
        for number in range(1, len(self.names)):
            found = {tuple(np.flatnonzero(table == number).tolist()) for table in tables}
            if len(found) != 1 or len(next(iter(found))) != 1:
                return ()
            values.append(next(iter(found))[0])
        return tuple(values)

    def classes(self, label: NDArray[Any], scheme: str) -> NDArray[np.uint8]:
        """Return the class of each voxel; values the scheme does not know become background.

        Args:
            label: Values of the file, integers of any shape.
            scheme: Name of their scheme.
        """
        table = self.classes_by_scheme[scheme]
        if label.dtype != np.uint8:
            label = np.where((label > 0) & (label < len(table)), label, 0)
        return table.take(label)

    def overlapping(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return one channel of 0 and 1 for each region, ``r`` before the other axes."""
        channels = np.zeros((len(self.region_names), *classes.shape), np.bool_)
        for number in range(1, len(self.names)):
            is_class = classes == number  # a comparison a class costs far less than a look-up
            for region in np.flatnonzero(self.membership[:, number]):
                channels[region] |= is_class
        return channels.view(np.uint8)


def _shared_regions(schemes: Sequence[LabelScheme]) -> tuple[str, ...]:
    if not schemes:
        raise ValueError("there is no label scheme, so nothing says what is to be segmented")
    first = schemes[0]
    others = [scheme for scheme in schemes if set(scheme.regions) != set(first.regions)]
    if others:
        listed = "; ".join(f"{s.name}: {', '.join(s.regions)}" for s in (first, *others))
        raise ValueError(
            f"the label schemes of the chosen studies have different regions ({listed}); choose "
            "data sets of one kind with data.datasets"
        )
    return tuple(first.regions)


def _regions_of(scheme: LabelScheme, names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    return {
        part: tuple(n for n, name in enumerate(names) if part in scheme.regions[name])
        for part in scheme.values
    }


def _table(
    scheme: LabelScheme,
    regions: Mapping[str, tuple[int, ...]],
    classes: Sequence[tuple[int, ...]],
) -> NDArray[np.uint8]:
    table = np.zeros(max(256, max(scheme.values.values()) + 1), np.uint8)
    for part, value in scheme.values.items():
        table[value] = classes.index(regions[part])
    return table
