"""How a network is run: compiled part by part, with or without keeping what lies inside blocks."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import torch
from monai.networks.blocks import UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.residual import ResidualBlock

DECODER_PARTS = (ResidualBlock, UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock)
"""Of decoders, what has norms and activations to be fused; a lone convolution gains nothing."""

MAX_GRAPHS = 128
"""Torch counts the graphs of all parts together, and from its own limit of 8 on runs uncompiled."""


def accelerate(module: nn.Module, *, compile: bool | str, checkpointing: bool) -> None:
    """Choose how the backbones and heads inside a module are run; results and names stay.

    Each part is compiled by itself, when it first runs, so that equal blocks share one graph, and
    so that checkpointing and distributed wrappers lie outside of what is compiled.

    Args:
        module: Such as a task.
        compile: Whether to compile, with inductor; or the name of another backend.
        checkpointing: Whether backbones compute their blocks again in the backward pass.

    Raises:
        ValueError: If there is no such backend, or a backbone cannot be checkpointed.
    """
    if checkpointing:
        for part in module.modules():
            if isinstance(part, Backbone):
                part.use_checkpointing()
    if not compile:
        return
    backend = "inductor" if compile is True else compile
    check_backend(backend)
    config: Any = torch._dynamo.config
    config.cache_size_limit = max(config.cache_size_limit, MAX_GRAPHS)
    # This splits graphs that are larger than a bucket, which none is, and refuses checkpointing.
    config.optimize_ddp = False
    for part in compiled_parts(module):
        compile_part(part, backend)


def compiled_parts(module: nn.Module) -> list[nn.Module]:
    """Return what is compiled inside a module: blocks of backbones, parts of decoders."""
    parts: list[nn.Module] = []
    for part in module.modules():
        if isinstance(part, Backbone):
            parts += part.all_blocks()
        elif isinstance(part, DECODER_PARTS):
            parts.append(part)
    return list(dict.fromkeys(parts))


def compile_part(part: nn.Module, backend: str) -> None:
    """Compile a module in place, as it will be when it first runs; copies are not compiled.

    Graphs may break, as at a collective of a synchronised norm; those of ours do not by themselves.
    """
    # Else inductor has a generator of its own, and dropped branches would be others.
    options = {"fallback_random": True} if backend == "inductor" else None
    part.compile(backend=backend, dynamic=False, options=options)
    assert part._compiled_call_impl is not None
    part._compiled_call_impl = _for_any_batch(part._compiled_call_impl)


def _for_any_batch(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Make the batch a variable of the graph once it has had two sizes; sides stay fixed.

    Torch would find out by itself which sizes vary, but keeps one record for the calls of all
    modules, whose channels and sides differ.
    """
    sizes: set[int] = set()

    def run(*inputs: Any, **options: Any) -> Any:  # noqa: ANN401 - as the module
        size = len(inputs[0])
        if size > 1:  # torch makes a graph of its own for one sample
            sizes.add(size)
        if len(sizes) > 1:
            for tensor in inputs:
                if isinstance(tensor, Tensor) and len(tensor) == size:
                    torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return compiled(*inputs, **options)

    return run


def check_backend(name: str) -> None:
    """See that a backend of `torch.compile` is known.

    Raises:
        ValueError: If it is not; it names the nearest.
    """
    known = torch._dynamo.list_backends(exclude_tags=())
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise ValueError(
        f"model.compile is {name!r}, which is no backend of torch.compile; use true for inductor"
        + (f", or one of {', '.join(close)}" if close else "")
    )
