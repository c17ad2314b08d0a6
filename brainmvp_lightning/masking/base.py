"""Contract of a masking strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from brainmvp_lightning.batches import Size
from brainmvp_lightning.randomness import CountedRandom


class Masking(nn.Module, ABC):
    """Draws which voxels are hidden, for each sample on its own."""

    @abstractmethod
    def draw(self, size: Size, random: CountedRandom, purpose: str = "mask") -> Tensor:
        """Return ``b 1 x y z``, bool, True where hidden, on the device of ``random.keys``.

        Args:
            size: Voxels of the image, ``(x, y, z)``.
            random: One stream for each of the ``b`` samples.
            purpose: Name of the stream; two views of one sample use two names.

        Raises:
            ValueError: If the size does not suit the strategy.
        """
