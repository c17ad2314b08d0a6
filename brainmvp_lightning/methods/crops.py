"""Crops of learnable volumes, whose gradient is one volume for the whole batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from brainmvp_lightning.batches import Size


def crop_volumes(volumes: Tensor, indices: Tensor, corners: Tensor, size: Size) -> Tensor:
    """Cut a crop out of one of the volumes for each sample.

    Args:
        volumes: ``s x y z``, with gradient.
        indices: Volume of each crop, ``b``, int64.
        corners: First voxel of each crop, ``b 3``, int64; it may be outside.
        size: Voxels of a crop.

    Returns:
        Crops, ``b 1 x y z``; 0 outside the volumes. The gradient is one dense tensor for the batch,
        whereas slicing would make one for each crop.
    """
    # Voxels are found by their number; one number for each takes half the memory in 32 bits.
    dtype = torch.int32 if volumes.numel() < 2**31 else torch.int64
    place = (indices.to(dtype), corners.to(dtype))
    crops: Tensor = _Crop.apply(volumes, *place, size)  # type: ignore[no-untyped-call]
    return crops


def clamp_to_unit(values: Tensor) -> Tensor:
    """Clamp to [0, 1], with gradient also where a step would lead back into the range."""
    clamped: Tensor = _Clamp.apply(values)  # type: ignore[no-untyped-call]
    return clamped


def smooth_gradient_of(crops: Tensor, sigma: float) -> Tensor:
    """Return `crops` unchanged, ``b 1 x y z``, with a gradient that a Gaussian has smoothed.

    Args:
        crops: What to hand through.
        sigma: Standard deviation of the Gaussian in voxels, above 0; it is cut off at three of
            them, and voxels beyond the crop count as 0.
    """
    smoothed: Tensor = _SmoothGradient.apply(crops, sigma)  # type: ignore[no-untyped-call]
    return smoothed


def inside(corners: Tensor, shape: tuple[int, ...], size: Size) -> Tensor:
    """Return which voxels of crops are inside volumes of that shape, ``b 1 x y z``, bool."""
    x, y, z = (
        (voxels >= 0) & (voxels < side)
        for voxels, side in zip(_axes(corners, size), shape, strict=True)
    )
    return (x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :])[:, None]


class _Crop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's
        volumes: Tensor,
        indices: Tensor,
        corners: Tensor,
        size: Size,
    ) -> Tensor:
        ctx.save_for_backward(indices, corners)
        ctx.shape, ctx.size = volumes.shape, size
        flat = crop_places(indices, corners, ctx.shape, size)
        crops = volumes.flatten().index_select(0, flat.flatten()).view(-1, 1, *size)
        return crops.mul_(inside(corners, ctx.shape[1:], size))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        indices, corners = ctx.saved_tensors
        flat = crop_places(indices, corners, ctx.shape, ctx.size)
        seen = gradient * inside(corners, ctx.shape[1:], ctx.size)
        total = gradient.new_zeros(ctx.shape)
        total.view(-1).index_add_(0, flat.flatten(), seen.flatten())
        return total, None, None, None


class _SmoothGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, crops: Tensor, sigma: float) -> Tensor:  # noqa: ANN401 - torch's
        ctx.sigma = sigma
        return crops.view_as(crops)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's
        reach = math.ceil(3 * ctx.sigma)
        steps = torch.arange(-reach, reach + 1, device=gradient.device, dtype=gradient.dtype)
        kernel = torch.softmax(-0.5 * (steps / ctx.sigma) ** 2, dim=0)
        for axis in range(3):
            shape = [1, 1, 1, 1, 1]
            shape[2 + axis] = len(kernel)
            padding = [reach if i == axis else 0 for i in range(3)]
            gradient = functional.conv3d(gradient, kernel.view(shape), padding=padding)
        return gradient, None


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        ctx.save_for_backward(values)
        return values.clamp(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        (values,) = ctx.saved_tensors
        leads_away = ((values < 0) & (gradient > 0)) | ((values > 1) & (gradient < 0))
        return gradient.masked_fill(leads_away, 0)


def _axes(corners: Tensor, size: Size) -> list[Tensor]:
    """Return the voxels of each crop along each axis, three times ``b n``."""
    steps = [torch.arange(side, dtype=corners.dtype, device=corners.device) for side in size]
    return [corners[:, axis, None] + step for axis, step in enumerate(steps)]


def crop_places(indices: Tensor, corners: Tensor, shape: tuple[int, ...], size: Size) -> Tensor:
    """Return the number of each voxel of crops in the flattened volumes, ``b x y z``.

    Args:
        indices: Volume of each crop, ``b``, of the integers that are to be returned.
        corners: First voxel of each crop, ``b 3``, of the same integers; it may be outside.
        shape: Shape of the volumes, ``s x y z``.
        size: Voxels of a crop; those outside get the number of the nearest voxel inside.
    """
    flat = indices[:, None, None, None]
    for axis, voxels in enumerate(_axes(corners, size)):
        view = [-1, 1, 1, 1]
        view[1 + axis] = size[axis]
        flat = flat * shape[1 + axis] + voxels.clamp(0, shape[1 + axis] - 1).view(view)
    return flat
