"""What a device can do at most, measured on the spot, and what a layer asks of it at least."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from published_network import PlainAttention
from timing import median_ms
from torch import Tensor, nn

FORWARD_AND_BACKWARD = 3  # the backward pass makes two products for each one of the forward pass


@dataclass(frozen=True)
class Work:
    """Work that any implementation has to do.

    Attributes:
        flops: Operations, two for each multiplication with its addition.
        num_bytes: Bytes read and written by the layers that multiply; everything between them could
            be fused into them.
    """

    flops: float = 0.0
    num_bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.num_bytes + other.num_bytes)

    def __mul__(self, factor: float) -> Work:
        return Work(factor * self.flops, factor * self.num_bytes)


@dataclass(frozen=True)
class Roofline:
    """Limits of a device in one number format.

    Attributes:
        tflops: Operations of a large product of matrices, 1e12 for each second.
        gb_per_s: Bytes read and written by a large copy or sum in place, whichever is faster, 1e9
            for each second.
    """

    tflops: float
    gb_per_s: float

    def seconds(self, work: Work) -> float:
        """Return the least time that `work` takes."""
        return max(work.flops / (1e12 * self.tflops), work.num_bytes / (1e9 * self.gb_per_s))

    def bound(self, work: Work) -> str:
        """Return what limits `work`: ``"compute"`` or ``"memory"``."""
        by_compute = work.flops / (1e12 * self.tflops)
        return "compute" if by_compute > work.num_bytes / (1e9 * self.gb_per_s) else "memory"


def measure_roofline(device: str, dtype: torch.dtype, num_rounds: int = 5) -> Roofline:
    """Measure a device with the clock of `timing.median_ms`, hence on a CPU for each core-second.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        dtype: Number format of the product; copy and sum are in float32.
        num_rounds: Rounds that count.
    """
    side = 8192 if device == "cuda" else 1024
    num_values = (4 if device == "cuda" else 1) * 2**26  # beyond any cache
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(first)
    source = torch.zeros(num_values, device=device)
    target = torch.zeros_like(source)
    rivals: dict[str, Callable[[], object]] = {
        "product": lambda: torch.mm(first, second, out=product),
        "copy": lambda: target.copy_(source),
        # On a CPU a copy also reads what it overwrites; a sum in place has to anyway.
        "sum": lambda: target.add_(source),
    }
    taken = median_ms(rivals, num_rounds=num_rounds, device=device)
    num_gb = 4 * num_values / 1e9
    return Roofline(
        tflops=2 * side**3 / (1e9 * taken["product"]),
        gb_per_s=1e3 * max(2 * num_gb / taken["copy"], 3 * num_gb / taken["sum"]),
    )


def work_of(module: nn.Module, shape: tuple[int, ...], bytes_per_value: int = 4) -> Work:
    """Return the work of a forward and a backward pass, without doing it.

    Counted are convolutions, linear layers and attention. `torch.utils.flop_counter` would count
    the backward pass of a depth-wise convolution as that of a dense one.

    Args:
        module: Built on the meta device, from the layers of `published_network`.
        shape: Shape of its input.
        bytes_per_value: Bytes of a number in memory.
    """
    total = Work()

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        (given,) = inputs
        weights = sum(parameter.numel() for parameter in layer.parameters())
        if isinstance(layer, PlainAttention):
            width, length = given.shape[-1], given.shape[-2]
            # Queries, keys and values are read, the result written; no matrix of pairs need be.
            num_values, weights = 4 * given.numel(), 0
            flops = 4.0 * given.shape[0] * length**2 * width
        else:
            num_values = given.numel() + output.numel()
            flops = _flops(layer, given, output)
        total += Work(flops, bytes_per_value * (num_values + weights))

    kinds = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear, PlainAttention)
    handles = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, kinds)]
    try:
        module(torch.empty(shape, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    return total * FORWARD_AND_BACKWARD


def _flops(layer: nn.Module, given: Tensor, output: Tensor) -> float:
    if isinstance(layer, nn.Linear):
        return 2.0 * output.numel() * layer.in_features
    if isinstance(layer, nn.ConvTranspose3d):
        return 2.0 * given.numel() * layer.out_channels * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Conv3d):
        per_output = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return 2.0 * output.numel() * per_output
    raise TypeError(f"no count of operations for {type(layer).__name__}")
