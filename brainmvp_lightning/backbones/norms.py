"""Norms that stay exact, and fast, on maps that lie channels last in memory.

On a CPU, torch sums the statistics of such maps in single precision, one element after the other:
means of 96^3 voxels are off by 1e-4 to 1e-3 standard deviations. The kernels for contiguous maps
are exact to 1e-6, and with two copies still faster in training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

HALF = (torch.bfloat16, torch.float16)


class ExactBatchNorm3d(nn.BatchNorm3d):
    """Batch norm of ``b c x y z`` that keeps the layout of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``b c x y z`` to the same shape."""
        if x.is_cuda or not self.training:  # without statistics there is nothing to sum
            return super().forward(x)
        # In half precision this kernel sums up the gradients of weights and biases too coarsely.
        return _on_contiguous(super().forward, x.float() if x.dtype in HALF else x).to(x.dtype)


class ExactGroupNorm(nn.GroupNorm):
    """Group norm of ``b c x y z`` that keeps the layout of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``b c x y z`` to the same shape."""
        if x.is_cuda:
            return super().forward(x)
        return _on_contiguous(super().forward, x)


def _on_contiguous(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    is_channels_last = x.is_contiguous(memory_format=torch.channels_last_3d)
    layout = torch.channels_last_3d if is_channels_last else torch.contiguous_format
    return norm(x.contiguous()).contiguous(memory_format=layout)
