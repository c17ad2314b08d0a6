"""The tissue fractions of one person, to be painted upon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.phantom.fields import smooth_noise
from brainmvp_lightning.phantom.grids import Axes, Floats, Grid
from brainmvp_lightning.phantom.tissues import INDEX

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Region:
    """A box of a person's grid, small enough to draw a lesion in it quickly."""

    box: Box
    axes_mm: Axes
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        x, y, z = self.axes_mm
        return x.size, y.size, z.size

    def distance_to(self, centre_mm: Sequence[float]) -> Floats:
        """Return the distance of every voxel from a point, mm."""
        x, y, z = (axis - np.float32(c) for axis, c in zip(self.axes_mm, centre_mm, strict=True))
        distance: Floats = np.sqrt(x**2 + y**2 + z**2)
        return distance

    def noise(self, rng: np.random.Generator, length_mm: float, num: int) -> Floats:
        """Draw random fields, ``num x y z``."""
        return smooth_noise(rng, self.shape, length_mm, self.spacing_mm, num)


@dataclass(frozen=True, eq=False)
class Body:
    """What a scanner would find in one head.

    Args:
        grid: Axis-aligned RAS grid of all arrays.
        fractions: Share of every tissue of `CLASSES` in every voxel, ``c x y z``; the rest is air.
        brain: Share of brain, including its ventricles and lesions.
        vein: Share of venous blood, part of the vessels.
        periventricular: Closeness to the ventricles, 0 to 1.
        lesion: Label map of the lesions, values of `lesions.LABELS`, 0 for none.
    """

    grid: Grid
    fractions: Floats
    brain: Floats
    vein: Floats
    periventricular: Floats
    lesion: NDArray[np.uint8]

    def whole(self) -> Region:
        """Return the region of the whole grid."""
        box = (slice(None), slice(None), slice(None))
        return Region(box, self.grid.axes_mm(), float(self.grid.spacing_mm[0]))

    def around(self, centre_mm: Sequence[float], reach_mm: float) -> Region:
        """Return the region that holds a ball, cut at the border of the grid."""
        corners = np.array(centre_mm)[None] + np.array([[-reach_mm], [reach_mm]])
        low, high = self.grid.indices_of(corners)
        starts = np.clip(np.floor(low), 0, np.array(self.grid.shape) - 1).astype(int)
        stops = np.clip(np.ceil(high) + 1, starts + 1, self.grid.shape).astype(int)
        x, y, z = (slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))
        axes = self.grid.axes_mm()
        cut = (axes[0][x], axes[1][:, y], axes[2][:, :, z])
        return Region((x, y, z), cut, float(self.grid.spacing_mm[0]))

    def share(self, name: str, region: Region) -> Floats:
        """Return the share of one tissue, a view that follows later painting."""
        view: Floats = self.fractions[(INDEX[name], *region.box)]
        return view

    def paint(self, name: str, amount: Floats, region: Region) -> None:
        """Replace a share of everything in the region by one tissue.

        Args:
            name: Tissue to add.
            amount: Share that becomes this tissue, ``x y z`` of the region, 0 to 1.
            region: Where.
        """
        for fraction in self.fractions:
            fraction[region.box] *= 1 - amount
        self.share(name, region)[...] += amount

    def label(self, value: int, is_lesion: NDArray[np.bool_], region: Region) -> None:
        """Write a label where `is_lesion` is True in the region."""
        self.lesion[region.box][is_lesion] = value
