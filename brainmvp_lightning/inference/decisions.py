"""From probabilities of a voxel to the value that a file of labels holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.studies.labels import LabelScheme

_SURE = 1e-7  # probabilities are kept this far from 0 and 1, where logits end


@dataclass(frozen=True, eq=False)
class Labelling:
    """Writes one value for each voxel.

    Exclusive classes: the most probable one. Regions that may overlap: the class whose regions are
    those above 0.5; if there is no such class, the one that is most probable when regions are
    independent (the product of p or 1 - p over the regions), which is the same rule.

    Attributes:
        names: Structures behind the classes, the background first.
        values: What is written for each class.
        membership: Which class belongs to which region, ``k r``; None for exclusive classes.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    membership: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, description: LabelledDescription, scheme: LabelScheme | None = None) -> Labelling:
        """Return how a model's answers are written.

        Args:
            description: What the model was trained on.
            scheme: Whose values are written; None writes those of the annotations the model learned
                from, or the classes 0, 1, ... if these had different ones.

        Raises:
            ValueError: If the model names no structures, or the scheme has others or splits them.
                Structures are the same if they have the same name and regions, or if none has the
                name and one alone has the regions.
        """
        names = description.label_names
        if not names or len(description.label_regions) != len(names):
            raise ValueError(
                "the model does not name the structures it segments, so no label can be written; "
                "train it with SegmentationDataModule, or ask for probabilities only"
            )
        membership = None
        if description.overlapping:
            rows = [
                [region in regions for region in description.region_names]
                for regions in description.label_regions
            ]
            membership = np.array(rows, np.float32)
        values: Sequence[int] = description.label_values or range(len(names))
        if scheme is not None:
            values = _scheme_values(description, scheme)
        return cls(names, tuple(values), membership)

    def __call__(self, probabilities: NDArray[np.float32]) -> NDArray[Any]:
        """Return the values of voxels, ``x y z``, for their probabilities, ``c x y z``."""
        scores = probabilities
        if self.membership is not None:
            scores = self._scores(probabilities)
        dtype = np.uint8 if max(self.values) < 256 else np.uint16
        labels: NDArray[Any] = np.array(self.values, dtype).take(scores.argmax(axis=0))
        return labels

    @property
    def outside(self) -> tuple[float, ...]:
        """Probabilities where the model has seen nothing: the background's."""
        if self.membership is not None:
            return (0.0,) * int(self.membership.shape[1])
        return (1.0,) + (0.0,) * (len(self.names) - 1)

    def _scores(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log of each class's probability up to a constant of the voxel."""
        assert self.membership is not None
        clipped = np.clip(probabilities, _SURE, 1 - _SURE)
        logits = np.log(clipped / (1 - clipped))
        scores: NDArray[np.float32] = np.tensordot(self.membership, logits, axes=1)
        return scores


def fitting_schemes(
    description: LabelledDescription, schemes: Iterable[LabelScheme]
) -> dict[str, tuple[int, ...]]:
    """Return what each class of a model is in the schemes that have a value for all, by name."""
    found = {}
    for scheme in schemes:
        try:
            found[scheme.name] = tuple(_scheme_values(description, scheme))
        except ValueError:  # it is of other structures
            continue
    return found


def _scheme_values(description: LabelledDescription, scheme: LabelScheme) -> list[int]:
    """Return the value that a scheme has for each class of a model, 0 for the background."""
    values = [0]
    for name, regions in zip(
        description.label_names[1:], description.label_regions[1:], strict=True
    ):
        part = _scheme_structure(name, set(regions), scheme)
        own = _regions_of(part, scheme)
        if own != set(regions):
            raise ValueError(
                f"label scheme {scheme.name!r} counts {part!r} to {', '.join(sorted(own))}, "
                f"the model to {', '.join(sorted(regions))}; leave the scheme out"
            )
        values.append(scheme.values[part])
    return values


def _scheme_structure(name: str, regions: set[str], scheme: LabelScheme) -> str:
    """Return the structure of a scheme of a class's name, else the only one of its regions."""
    parts = [part for part in name.split("/") if part in scheme.values]
    alike = [part for part in scheme.values if regions and _regions_of(part, scheme) == regions]
    if not parts and len(alike) == 1:
        parts = alike
    if len(parts) == 1:
        return parts[0]
    found = "has none of that name, nor just one of its regions"
    if parts:
        found = f"splits it into {', '.join(parts)}"
    raise ValueError(
        f"label scheme {scheme.name!r} cannot name the model's structure {name!r}: it "
        f"{found}; leave the scheme out to write the model's own classes"
    )


def _regions_of(part: str, scheme: LabelScheme) -> set[str]:
    return {region for region, members in scheme.regions.items() if part in members}
