"""Values that the weights of a network start from."""

from __future__ import annotations

from torch import nn


def init_weights(module: nn.Module) -> None:
    """Initialise one layer in place; hand this to `torch.nn.Module.apply`.

    Convolutions start from Kaiming's normal distribution over the fan-out, linear layers from a
    truncated normal distribution of deviation 0.02; their biases start from 0.

    Source:
        Convolutions: published BrainMVP networks. Linear layers: vision transformers
        (arXiv 2010.11929).
    """
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
