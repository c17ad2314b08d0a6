"""Contract of a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Image ``b c x y z`` to a pyramid of features, finest first.

    Attributes:
        in_channels: Channels of the image.
        feature_channels: Channels of each level of the pyramid.
        strides: Down-sampling factor of each level; the image's size must be a multiple of the
            last one.
        decoder: Name of the reconstruction decoder that the authors of this network paired it
            with, ``"transposed"`` or ``"residual"``.
    """

    in_channels: int
    feature_channels: tuple[int, ...]
    strides: tuple[int, ...]
    decoder: str = "transposed"

    @abstractmethod
    def forward(self, image: Tensor) -> list[Tensor]:
        """Return one tensor ``b feature_channels[i] x/strides[i] y/strides[i] z/strides[i]`` each.

        Raises:
            ValueError: If a side of the image is no multiple of ``strides[-1]``.
        """

    def check_image(self, image: Tensor) -> None:
        """Raise a `ValueError` unless `image` has the channels and sizes this network takes."""
        if image.ndim != 5 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__} takes images b {self.in_channels} x y z, "
                f"got shape {tuple(image.shape)}"
            )
        if any(side % self.strides[-1] for side in image.shape[2:]):
            raise ValueError(
                f"{type(self).__name__} needs sides that are multiples of {self.strides[-1]}, got "
                f"{tuple(image.shape[2:])}; change the crop size"
            )
