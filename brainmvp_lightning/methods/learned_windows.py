"""Windows of large volumes that learn, on one process or on many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from brainmvp_lightning.batches import Size
from brainmvp_lightning.losses.gathering import gather_rows
from brainmvp_lightning.methods.crops import crop_places, inside
from brainmvp_lightning.methods.windowed_adamw import WindowedAdamW

_NUM_NUMBERS = 4  # volume and corner of a window


@dataclass(frozen=True)
class _Taken:
    """Windows that a forward pass has taken, and whose gradient is to come."""

    numbers: Tensor
    """Volume and first voxel of each, ``n 4``, int32 or int64."""
    crops: Tensor
    """Leaf of the graph, ``n 1 x y z``."""
    capacity: int | None
    """Most windows that any process may have taken with these."""


class LearnedWindows:
    """Takes windows of volumes, collects their gradients and lets AdamW step.

    The volumes never have a gradient of their own: that of a window stays with the window. Many
    processes exchange windows in one collective a step, and all do the same steps; no process ever
    reduces whole volumes.

    Args:
        volumes: ``s x y z``, float32.
        betas: Decay rates of AdamW's moments.
        eps: AdamW's.

    Raises:
        ValueError: As `WindowedAdamW` does.
    """

    def __init__(self, volumes: nn.Parameter, betas: tuple[float, float], eps: float) -> None:
        self.optimizer = WindowedAdamW(volumes, betas, eps)
        # As in `crop_volumes`: numbers of voxels must fit.
        self._integers = torch.int32 if volumes.numel() < 2**31 else torch.int64
        self._taken: list[_Taken] = []

    @property
    def volumes(self) -> Tensor:
        """The volumes, ``s x y z``; up to date after `settle`."""
        return self.optimizer.volumes

    def take(
        self, indices: Tensor, corners: Tensor, size: Size, capacity: int | None = None
    ) -> Tensor:
        """Cut a window out of one of the volumes for each sample.

        With gradients enabled, windows count for the next `step`.

        Args:
            indices: Volume of each window, ``b``, int.
            corners: First voxel of each window, ``b 3``, int; it may be outside.
            size: Voxels of a window.
            capacity: Most windows that a process takes at a time, the same on all processes;
                without it they agree on one in each step, for which the host waits.

        Returns:
            Windows, ``b 1 x y z``; 0 outside the volumes.

        Raises:
            ValueError: If there are more windows than the capacity.
        """
        if capacity is not None and len(indices) > capacity:
            raise ValueError(f"{len(indices)} windows do not fit a capacity of {capacity}")
        shape = self.volumes.shape
        numbers = torch.cat([indices[:, None], corners], dim=1).to(self._integers)  # b 4
        places = crop_places(numbers[:, 0], numbers[:, 1:], shape, size)
        crops = self.optimizer.read(places.flatten()).view(-1, 1, *size)
        crops.mul_(inside(corners, shape[1:], size))
        if torch.is_grad_enabled():
            crops.requires_grad_()
            self._taken.append(_Taken(numbers, crops, capacity))
        return crops

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Do a step with the gradients of all windows taken since the last one.

        Every process of the default group must call this.
        """
        taken, self._taken = self._taken, []
        if not taken:
            return
        x, y, z = taken[0].crops.shape[2:]
        size = (x, y, z)
        numbers, gradients = self._exchange(taken, size)
        shape = self.volumes.shape
        places = crop_places(numbers[:, 0], numbers[:, 1:], shape, size).flatten(1)
        gradients = gradients * inside(numbers[:, 1:], shape[1:], size).flatten(1)
        self.optimizer.step(places, gradients, learning_rate)

    def settle(self) -> None:
        """Bring all voxels up to date."""
        self.optimizer.settle()

    def state(self) -> dict[str, Tensor]:
        """Return the state of AdamW for the volumes."""
        return self.optimizer.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state of AdamW; windows that were taken before are forgotten."""
        self._taken.clear()
        self.optimizer.restore(state)

    def _exchange(self, taken: list[_Taken], size: Size) -> tuple[Tensor, Tensor]:
        """Return numbers ``w 4`` and mean gradients ``w v`` of the windows of all processes."""
        world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        num_voxels = size[0] * size[1] * size[2]
        if world == 1:
            numbers = torch.cat([part.numbers for part in taken])
            return numbers, torch.cat([_gradient(part).view(-1, num_voxels) for part in taken])
        capacities = [part.capacity for part in taken]
        known = [capacity for capacity in capacities if capacity is not None]
        capacity = sum(known) if len(known) == len(capacities) else None
        own = self.volumes.new_empty(
            sum(len(part.numbers) for part in taken), _NUM_NUMBERS + num_voxels
        )
        first = 0
        for part in taken:
            rows = slice(first, first + len(part.numbers))
            own[rows, :_NUM_NUMBERS] = part.numbers.to(own)  # exact: far below 2^24
            own[rows, _NUM_NUMBERS:] = _gradient(part).view(-1, num_voxels) / world
            first += len(part.numbers)
        every, _ = gather_rows(own, capacity)
        return every[:, :_NUM_NUMBERS].round().to(self._integers), every[:, _NUM_NUMBERS:]


def _gradient(taken: _Taken) -> Tensor:
    """Return the gradient of windows; zeros where the loss did not look at them."""
    gradient = taken.crops.grad
    return torch.zeros_like(taken.crops) if gradient is None else gradient
