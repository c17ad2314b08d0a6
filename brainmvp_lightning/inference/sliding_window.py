"""Probabilities of whole volumes from windows of the size the network was trained on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from brainmvp_lightning.batches import Size

Blend = Literal["gaussian", "constant"]
Place = Literal["auto", "cpu", "device"]

_AXES = "xyz"
_DEVICE_BYTES = 2**30  # what sums and weights of a volume may take on a device with "auto"


@dataclass(frozen=True)
class WindowOptions:
    """How a volume is covered by windows.

    Attributes:
        overlap: Share of a window that its neighbour covers again, 0 to below 1 (paper: 0.5).
        blend: Weight of a voxel where windows overlap: ``gaussian`` is less sure of their edges,
            ``constant`` is not (published code).
        batch: Windows that the network sees at once.
        flips: Axes along which each window is also seen in the mirror, such as ``x`` (left and
            right) or ``xyz``; ``true`` is ``xyz``. Probabilities are averaged over all
            combinations: two passes for one axis, eight for three.
        accumulate: Where windows are added up: on the ``device``, on the ``cpu``, or, with
            ``auto``, on the CPU if the volume would take more than 1 GiB of the device's memory.

    Raises:
        ValueError: If a value makes no sense.

    Source:
        BrainMVP, supplement B.2: windows of 96^3, overlap 0.5.
    """

    overlap: float = 0.5
    blend: Blend = "gaussian"
    batch: int = 1
    flips: bool | str = False
    accumulate: Place = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap is {self.overlap}; it is a share from 0 to below 1")
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; use at least 1 window")
        for name, choices in (("blend", get_args(Blend)), ("accumulate", get_args(Place))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use {' or '.join(choices)}")
        if isinstance(self.flips, str) and not _names_axes(self.flips):
            raise ValueError(f"flips is {self.flips!r}; name each axis once, such as 'x' or 'xyz'")

    @property
    def flip_axes(self) -> tuple[int, ...]:
        """Axes of ``b c x y z`` along which windows are mirrored."""
        named = (_AXES if self.flips else "") if isinstance(self.flips, bool) else self.flips
        return tuple(2 + _AXES.index(axis) for axis in sorted(named))


def _names_axes(text: str) -> bool:
    return set(text) <= set(_AXES) and len(set(text)) == len(text)


def predict(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    size: Size | None,
    options: WindowOptions,
    device: torch.device | None = None,
    *,
    num_outputs: int | None = None,
) -> Tensor:
    """Return the probabilities of whole volumes.

    On the device lie one batch of windows and what the network makes of it; the image and the sum
    stay where they are.

    Args:
        model: From images to probabilities; one mirrored window after another.
        image: ``b c x y z``, on any device.
        size: Voxels of a window; volumes that are smaller are padded with zeros. None shows the
            whole image at once, as for classification.
        options: Windows and flips.
        device: Where the network is; by default, where the image is.
        num_outputs: Channels of an answer, to tell how much memory it takes; by default as many
            as the image has, at least 4.

    Returns:
        ``b k x y z``, or ``b k`` of the whole image, float32.
    """
    place = image.device if device is None else device
    if size is None:
        return _mean_over_flips(model, image.to(place), options.flip_axes)
    from monai.inferers.utils import sliding_window_inference  # seconds to import

    result: Tensor = sliding_window_inference(
        image,
        size,
        options.batch,
        lambda windows: _mean_over_flips(model, windows, options.flip_axes),
        overlap=options.overlap,
        mode=options.blend,
        sw_device=place,
        device=_sum_place(image, options, place, num_outputs),
    )
    return result


def _sum_place(
    image: Tensor, options: WindowOptions, device: torch.device, num_outputs: int | None = None
) -> torch.device:
    if options.accumulate == "device":
        return device
    # With sums, weights and copies it is about 16 bytes for each voxel of an output.
    needed = 16 * image[:, 0].numel() * (num_outputs or max(4, image.shape[1]))
    is_large = options.accumulate == "cpu" or needed > _DEVICE_BYTES
    return torch.device("cpu") if is_large else device


def _mean_over_flips(
    model: Callable[[Tensor], Tensor], image: Tensor, axes: tuple[int, ...]
) -> Tensor:
    total: Tensor | None = None
    count = 0
    for chosen in _subsets(axes):
        answer = model(image.flip(chosen) if chosen else image).float()
        answer = answer.flip(chosen) if chosen and answer.ndim == image.ndim else answer
        total = answer if total is None else total + answer
        count += 1
    assert total is not None  # the empty subset always is one
    return total / count if count > 1 else total


def _subsets(axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [
        subset for length in range(len(axes) + 1) for subset in itertools.combinations(axes, length)
    ]
