"""A masking strategy: which voxels are hidden."""

from __future__ import annotations

import torch
from torch import Tensor

from brainmvp_lightning.batches import Size
from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.randomness import CountedRandom


class Slabs(Masking):
    """Hides whole slabs of slices, perpendicular to an axis drawn for each image.

    Args:
        thickness: Slices of a slab.
        ratio: Share of the slabs that are hidden, above 0 and below 1.

    Raises:
        ValueError: If one of them is out of range.
    """

    def __init__(self, thickness: int = 4, ratio: float = 0.5) -> None:
        super().__init__()
        if thickness < 1 or not 0 < ratio < 1:
            raise ValueError(
                "slabs: thickness must be at least 1 and ratio between 0 and 1, got "
                f"{thickness} and {ratio}"
            )
        self.thickness = thickness
        self.ratio = ratio

    def draw(self, size: Size, random: CountedRandom, purpose: str = "mask") -> Tensor:
        """Return the mask, ``b 1 x y z``, True where hidden.

        Raises:
            ValueError: If a side has room for one slab only.
        """
        if min(size) <= self.thickness:
            raise ValueError(
                f"slabs of {self.thickness} slices need sides longer than that, got {size}; use a "
                "larger crop or thinner slabs"
            )
        # All randomness comes from `random`: a row for each image, a stream for each purpose.
        axis = random.integers(1, 3, f"{purpose}/axis")  # b 1
        masks = []
        for place, side in enumerate(size):
            hidden = self._hidden_slices(side, random, f"{purpose}/{place}")  # b side
            shape = [len(hidden), 1, 1, 1]
            shape[place + 1] = side
            masks.append(hidden.view(shape).expand(-1, *size))
        # Without a loop over images, which would stall a GPU.
        chosen = torch.stack(masks, dim=1)  # b 3 x y z
        return chosen.gather(1, axis.view(-1, 1, 1, 1, 1).expand(-1, 1, *size))

    def _hidden_slices(self, side: int, random: CountedRandom, purpose: str) -> Tensor:
        num_slabs = -(-side // self.thickness)
        num_hidden = min(max(1, round(num_slabs * self.ratio)), num_slabs - 1)
        rank = random.uniform(num_slabs, purpose).argsort(dim=1).argsort(dim=1)
        return (rank < num_hidden).repeat_interleave(self.thickness, dim=1)[:, :side]
