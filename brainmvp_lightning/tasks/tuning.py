"""Groups of layers with learning rates of their own."""

from __future__ import annotations

from typing import Any

from brainmvp_lightning.inference.model import FineTunedModel


def layer_groups(model: FineTunedModel, learning_rate: float, decay: float) -> list[dict[str, Any]]:
    """Return optimiser groups, the head first, then the backbone from deep to shallow.

    The head learns with `learning_rate`, the deepest group of the backbone with `decay` times that,
    the next one with `decay` squared, and so on. Frozen parameters are left out.

    Args:
        model: Network to be trained.
        learning_rate: Of the head.
        decay: In (0, 1]; 1 gives all the same rate.

    Source:
        Layer-wise decay as in the fine-tuning of BEiT and MAE (arXiv 2111.06377, appendix A).
    """
    rates = [(list(model.head.parameters()), learning_rate)]
    for depth, parameters in enumerate(reversed(model.backbone.depth_groups()), start=1):
        rates.append((list(parameters), learning_rate * decay**depth))
    groups = []
    for parameters, rate in rates:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if trained:
            groups.append({"params": trained, "lr": rate})
    return groups
