"""Depth-wise convolution whose backward pass is fast on a CPU.

For three dimensions torch's kernels of both gradients are general ones, about ten times slower than
its forward pass. The gradient of the input is a convolution with the mirrored kernel, so the
forward pass does it; that of the weight is a sum of two-dimensional ones, for which there are fast
kernels, over the slices of a map that lies channels last.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_FAST_EDGE = 3  # two-dimensional kernels of this edge have the fast weight gradient


class DepthwiseConv3d(nn.Conv3d):
    """Convolution of each channel by itself that keeps the size.

    Args:
        width: Channels.
        kernel_size: Edge of the kernel, odd.
    """

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__(width, width, kernel_size, padding=kernel_size // 2, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``b c x y z`` to the same shape."""
        # Gives the axis of length 1 the same stride in weight and gradient; DDP warns otherwise.
        weight = self.weight.squeeze(1).unsqueeze(1)
        if self.bias is not None and _suits(x, self.kernel_size[0]):
            return depthwise_conv3d(x, weight, self.bias)
        return functional.conv3d(x, weight, self.bias, padding=self.padding, groups=self.groups)


def depthwise_conv3d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve each channel by itself, keeping the size, with a fast backward pass on a CPU.

    Args:
        x: ``b c x y z``, channels last in memory.
        weight: ``c 1 k k k``, `k` 3 or 5.
        bias: ``c``.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    with torch.autocast("cpu", enabled=False):
        convolved: Tensor = _DepthwiseConv.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return convolved


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, weight)
        return functional.conv3d(
            x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0]
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            mirrored = weight.flip(2, 3, 4)
            of_x = functional.conv3d(
                gradient, mirrored, padding=weight.shape[-1] // 2, groups=weight.shape[0]
            )
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(x, gradient, weight.shape[-1]).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(dim=(0, 2, 3, 4), dtype=_sums(gradient)).to(weight.dtype)
        return of_x, of_weight, of_bias


def weight_gradient(x: Tensor, gradient: Tensor, edge: int) -> Tensor:
    """Return the gradient of the weight of a depth-wise convolution, ``c 1 k k k``.

    Args:
        x: Input, ``b c x y z``, channels last in memory.
        gradient: Gradient of the output, the same.
        edge: Edge `k` of the kernel, 3 or 5.
    """
    reach = edge // 2
    channels, _, height, depth = x.shape[1:]
    # Slices of all samples in one row, with empty ones between, so that a shift along x is one of
    # the row; an empty slice has no gradient, whatever it meets.
    row = _row(functional.pad(gradient, (0, 0, 0, 0, 0, 2 * reach)))
    num = len(row) - 2 * reach
    padded = functional.pad(x, (reach,) * 6)
    total = x.new_zeros((channels, 1, edge, edge, edge), dtype=_sums(x))
    # A kernel of edge 5 is covered by four of edge 3.
    corners = range(0, edge - _FAST_EDGE + 1, 2)
    for y, z in product(corners, corners):
        beyond = _FAST_EDGE - 1
        slices = _row(padded[..., y : y + height + beyond, z : z + depth + beyond])
        y_part, z_part = slice(y, y + _FAST_EDGE), slice(z, z + _FAST_EDGE)
        for shift in range(edge):
            part = _flat_gradient(slices[shift : shift + num], row[:num])
            total[:, :, shift, y_part, z_part] = part
    return total


def _flat_gradient(slices: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of a weight in two dimensions, ``c 1 3 3``.

    Args:
        slices: ``n c y+2 z+2``.
        gradient: ``n c y z``.
    """
    channels = slices.shape[1]
    weight = slices.new_zeros(channels, 1, _FAST_EDGE, _FAST_EDGE)
    _, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        slices,
        weight,
        None,
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        channels,
        [False, True, False],
    )
    flat: Tensor = of_weight
    return flat


def _row(x: Tensor) -> Tensor:
    """Return the slices along x of all samples, ``(b x) c y z``, channels last in memory."""
    slices = x.permute(0, 2, 3, 4, 1).contiguous()  # b x y z c
    return slices.flatten(0, 1).permute(0, 3, 1, 2)


def _sums(x: Tensor) -> torch.dtype:
    """Return the numbers in which many of `x` are added up: float32 or finer."""
    return torch.promote_types(x.dtype, torch.float32)


def _suits(x: Tensor, edge: int) -> bool:
    """Tell whether the way of this module is the faster one."""
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and edge in (_FAST_EDGE, 5)
        and x.is_contiguous(memory_format=torch.channels_last_3d)
        and not torch.compiler.is_compiling()
    )
