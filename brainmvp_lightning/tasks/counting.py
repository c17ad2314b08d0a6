"""What a piece of work costs: bytes alive, bytes saved for the backward pass, operations."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

FLOAT32_ON_GPU = (
    "layer_norm",
    "group_norm",
    "local_response_norm",
    "pow",
    "__pow__",
    "exp",
    "expm1",
    "log",
    "log1p",
    "rsqrt",
    "reciprocal",
    "softplus",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "cosine_similarity",
    "cdist",
    "norm",
    "binary_cross_entropy_with_logits",
    "nll_loss",
    "kl_div",
)
"""Functions that autocast runs in float32 on a GPU but not on a CPU.

Source:
    PyTorch, "Automatic Mixed Precision package", list of CUDA operations.
"""


# Of attention on a CPU, of which torch has no formula: place of the query, number of products.
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (0, 2),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (1, 5),
}


@dataclass(frozen=True)
class Work:
    """Cost of one operation."""

    flops: int
    """2 for a product and its sum; only of products of matrices and convolutions."""
    traffic: int
    """Bytes of all tensors that go in and come out."""


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside, as long as they live.

    What an operation needs inside itself, and what an allocator rounds up, is not seen.

    Attributes:
        now: Bytes alive.
        peak: Most bytes alive at a time since `reset_peak`.
        works: Each operation since `reset_peak`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self.works: list[Work] = []
        self._alive: dict[int, weakref.ref[Any]] = {}

    def reset_peak(self) -> None:
        """Forget what was, but not what is alive."""
        self.peak = self.now
        self.works = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operation and count what it made."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        made = _tensors(result)
        for tensor in made:
            self._watch(tensor)
        changed = made or _written(func, args, kwargs)
        if changed and not _is_view(func):
            traffic = sum(tensor.nbytes for tensor in (*_tensors((args, kwargs)), *changed))
            self.works.append(Work(_flops(func, args, kwargs, result), traffic))
        return result

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._alive.get(key)
        if known is not None and known() is not None:
            return

        def forget(ref: weakref.ref[Any]) -> None:
            if self._alive.get(key) is ref:
                del self._alive[key]
            self.now -= size

        self._alive[key] = weakref.ref(storage, forget)
        self.now += size
        self.peak = max(self.peak, self.now)


@dataclass
class SavedBytes:
    """What autograd has saved."""

    exempt: frozenset[int] = frozenset()
    """Storages that are there anyway."""
    _sizes: dict[int, tuple[Any, int]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of the storages, each once."""
        return sum(size for _, size in self._sizes.values())

    def add(self, tensor: Tensor) -> Tensor:
        """Note a tensor, and return it."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.exempt:
            # The storage is kept so that no other can get its address.
            self._sizes[storage._cdata] = (storage, storage.nbytes())
        return tensor


@contextmanager
def count_saved(exempt: frozenset[int] = frozenset()) -> Iterator[SavedBytes]:
    """Count the bytes that autograd saves inside for the backward pass, each storage once.

    Args:
        exempt: Addresses of storages (see `storages_of`) that do not count, such as weights.
    """
    saved = SavedBytes(exempt)
    with torch.autograd.graph.saved_tensors_hooks(saved.add, _unchanged):
        yield saved
    saved._sizes = {key: (None, size) for key, (_, size) in saved._sizes.items()}


def storages_of(tensors: Iterator[Tensor]) -> dict[int, int]:
    """Return address and bytes of the storages behind some tensors."""
    return {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors
    }


class GPURules(TorchFunctionMode):
    """Makes autocast on a CPU choose the types that it chooses on a GPU."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - torch's
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run a function, on float32 if a GPU would."""
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cpu") and func.__name__ in FLOAT32_ON_GPU:
            args = tuple(_float32(value) for value in args)
            kwargs = {name: _float32(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _float32(value: Any) -> Any:  # noqa: ANN401 - any argument
    is_half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if is_half else value


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _tensors(tree: Any) -> list[Tensor]:  # noqa: ANN401 - anything
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:  # noqa: ANN401
    """Return what an operation changes in place, such as that of an optimiser on many tensors."""
    arguments = func._schema.arguments
    given = {known.name: value for known, value in zip(arguments, args, strict=False)} | kwargs
    infos = {known.name: known.alias_info for known in arguments}
    names = [name for name, info in infos.items() if info is not None and info.is_write]
    return _tensors([given.get(name) for name in names])


def _is_view(func: Any) -> bool:  # noqa: ANN401 - an operation
    infos = [returned.alias_info for returned in func._schema.returns]
    return any(info is not None and not info.is_write for info in infos)


def _flops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:  # noqa: ANN401
    packet = func._overloadpacket
    if packet is torch.ops.aten.convolution_backward:
        return _flops_of_convolution_backward(*args)
    if packet in _ATTENTION:
        place, num_products = _ATTENTION[packet]
        query, key = args[place], args[place + 1]
        return int(num_products * 2 * query.numel() * key.shape[-2])
    formula = flop_registry.get(packet)
    return int(formula(*args, **kwargs, out_val=result)) if formula is not None else 0


def _flops_of_convolution_backward(
    gradient: Tensor,
    image: Tensor,
    weight: Tensor,
    *options: Any,  # noqa: ANN401 - torch's
) -> int:
    """Count both products of a backward pass; torch's own formula takes groups for dense."""
    is_transposed, mask = options[4], options[7]
    voxels = image if is_transposed else gradient
    return 2 * voxels.numel() * math.prod(weight.shape[1:]) * (int(mask[0]) + int(mask[1]))
