"""How gradients are brought together where each process has all weights (DDP)."""

from __future__ import annotations

import inspect

from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

_OPTIONS = inspect.signature(DistributedDataParallel).parameters
BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _OPTIONS else "broadcast_buffers"
"""DDP's option to send buffers in each step; from torch 2.13 on it has another name."""


def choose_defaults(strategy: Strategy, network: nn.Module) -> None:
    """Set what a configuration of DDP leaves open; other strategies are left alone.

    Gradients become views into what is sent, which saves a copy of them all. Buffers are sent in
    each step only where they differ: running statistics of norms that see one process's samples.
    The graph is not declared static: that would spare a search for unused parameters, which is off,
    and does not go with gradient accumulation.
    """
    if not isinstance(strategy, DDPStrategy):
        return
    options = strategy._ddp_kwargs
    options.setdefault("gradient_as_bucket_view", True)
    has_statistics = any(isinstance(module, _BatchNorm) for module in network.modules())
    if all(options.get(name) is None for name in ("broadcast_buffers", BUFFERS)):
        options[BUFFERS] = has_statistics and strategy._layer_sync is None
