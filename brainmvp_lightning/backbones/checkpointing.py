"""Activation checkpointing: what lies inside a block is computed again instead of kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Context = AbstractContextManager[None]


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block that keeps its input alone; the backward pass runs it again.

    Results, gradients, running statistics and the state of the generator are those of a plain call.

    Args:
        block: Any layer of one input and one output. What it draws is drawn again alike.
        x: Its input.
    """
    if not torch.is_grad_enabled():
        return block(x)  # type: ignore[no-any-return]
    result: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=partial(_contexts, block))
    return result


def _contexts(block: nn.Module) -> tuple[Context, Context]:
    """Return what the first and what the second computation run in."""
    return nullcontext(), spared_statistics(block)


@contextmanager
def spared_statistics(block: nn.Module) -> Iterator[None]:
    """Let the batch norms of a block move copies of their running statistics.

    To turn tracking off instead would change what is computed, so that a compiled block would be
    compiled once more and save other tensors than the first time, which checkpointing refuses.
    """
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    try:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
