"""Contract of a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from brainmvp_lightning.backbones.stage import Stage


class Backbone(nn.Module, ABC):
    """Image ``b c x y z`` to a pyramid of features, finest first.

    Attributes:
        in_channels: Channels of the image.
        feature_channels: Channels of each level of the pyramid.
        strides: Down-sampling factor of each level; the image's size must be a multiple of the
            last one.
        fine_channels: Channels that decoders use at the resolutions finer than the pyramid, from
            full resolution on, each half of the one before; where there are none, they use those
            of the finest level.
        decoder: Name of the reconstruction decoder that the authors of this network paired it
            with, ``"transposed"`` or ``"residual"``.
        segmentation_head: Registered name of the head they paired it with for segmentation.
        stems: Names of the tensors whose axis 1 is the channels of the image, such as
            ``stages.0.entry.weight``.
    """

    in_channels: int
    feature_channels: tuple[int, ...]
    strides: tuple[int, ...]
    fine_channels: tuple[int, ...] = ()
    decoder: str = "transposed"
    segmentation_head: str = "uniunet"
    stems: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, image: Tensor) -> list[Tensor]:
        """Return one tensor ``b feature_channels[i] x/strides[i] y/strides[i] z/strides[i]`` each.

        Raises:
            ValueError: If a side of the image is no multiple of ``strides[-1]``.
        """

    def depth_groups(self) -> list[list[nn.Parameter]]:
        """Return all parameters, each once, in groups of rising depth.

        There is one group for each child of ``self.stages``, or a single one without that
        attribute. What is registered before the stages, such as a patch embedding, belongs to the
        first group; what is registered after them, such as a final norm, to the last.
        """
        stages: Iterable[nn.Module] = getattr(self, "stages", ())
        depths = {
            parameter: depth
            for depth, stage in enumerate(stages)
            for parameter in stage.parameters()
        }
        last = max(depths.values(), default=0)
        groups: list[list[nn.Parameter]] = [[] for _ in range(last + 1)]
        outside = 0  # depth of what belongs to no stage
        for parameter in self.parameters():
            if parameter in depths:
                outside = last
            groups[depths.get(parameter, outside)].append(parameter)
        return groups

    def all_blocks(self) -> list[nn.Module]:
        """Return the layers that may be compiled one by one; here those of each `Stage`."""
        return [block for stage in self._stages() for block in stage.blocks]

    def use_checkpointing(self, is_on: bool = True) -> None:
        """Compute each block again in the backward pass rather than keep what lies inside it.

        This is no property of the network: results, names of tensors and exported files stay.

        Raises:
            ValueError: If there is no `Stage`.
        """
        stages = self._stages()
        if not stages:
            raise ValueError(
                f"{type(self).__name__} is not made of Stage modules, whose blocks could be "
                "computed again; set model.checkpointing to false, or override use_checkpointing"
            )
        for stage in stages:
            stage.checkpointing = is_on

    def _stages(self) -> list[Stage]:
        return [module for module in self.modules() if isinstance(module, Stage)]

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
