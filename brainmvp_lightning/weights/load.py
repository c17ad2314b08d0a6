"""Weights into a network, with an account of every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from brainmvp_lightning.weights.errors import WeightsError

MatchStatus = Literal["loaded", "missing", "other shape", "not finite"]


@dataclass(frozen=True)
class TensorMatch:
    """What became of one tensor of a network."""

    name: str
    shape: tuple[int, ...]
    status: MatchStatus
    found: tuple[int, ...] | None
    """Shape of the tensor of that name among the weights, if there is one."""


@dataclass(frozen=True)
class LoadReport:
    """How weights and a network fit together."""

    matches: tuple[TensorMatch, ...]
    """One for each tensor of the network, in its order."""
    unused: tuple[str, ...]
    """Names among the weights that the network does not have."""

    @property
    def num_loaded(self) -> int:
        """Number of the network's tensors that the weights fill."""
        return sum(match.status == "loaded" for match in self.matches)

    @property
    def coverage(self) -> float:
        """Share of the network's tensors that the weights fill, in [0, 1]."""
        return self.num_loaded / max(len(self.matches), 1)

    def __str__(self) -> str:
        """Return one sentence with the numbers and the first tensors that were left out."""
        text = f"{self.num_loaded} of {len(self.matches)} tensors loaded"
        left = [f"{m.name} ({_reason(m)})" for m in self.matches if m.status != "loaded"]
        for what, names in (("left as they were", left), ("not used", list(self.unused))):
            if names:
                text += f"; {len(names)} {what}: {_first(names)}"
        return text


def load_report(
    module: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str = "", minimum: float = 0.9
) -> LoadReport:
    """Copy weights into `module` where name and shape agree.

    Args:
        module: Network to fill, in place.
        tensors: Weights by name.
        prefix: Takes only the weights whose names begin with it, and cuts it off; such as
            ``"encoder."`` for a backbone.
        minimum: Least share of the network's tensors to be filled, in [0, 1].

    Raises:
        WeightsError: If fewer are; the network is left as it was.
    """
    chosen = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    own = module.state_dict()
    report = match_tensors(own, chosen)
    if report.coverage < minimum:
        raise WeightsError(
            f"the weights fit only {report.coverage:.1%} of {type(module).__name__}, "
            f"{minimum:.0%} are asked for ({report}); choose the network they were made with, or "
            "lower the limit"
        )
    with torch.no_grad():
        for match in report.matches:
            if match.status == "loaded":
                own[match.name].copy_(chosen[match.name])
    return report


def match_tensors(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> LoadReport:
    """Compare the tensors of a network, of which only the shapes count, with weights."""
    matches = tuple(
        match_tensor(name, tuple(tensor.shape), tensors.get(name)) for name, tensor in own.items()
    )
    return LoadReport(matches, tuple(name for name in tensors if name not in own))


def match_tensor(name: str, shape: tuple[int, ...], weights: Tensor | None) -> TensorMatch:
    """Compare one tensor of a network, of this name and shape, with the one that would fill it."""
    if weights is None:
        return TensorMatch(name, shape, "missing", None)
    found = tuple(weights.shape)
    status: MatchStatus = "loaded"
    if found != shape:
        status = "other shape"
    elif not weights.isfinite().all():
        status = "not finite"
    return TensorMatch(name, shape, status, found)


def _reason(match: TensorMatch) -> str:
    if match.status == "other shape":
        return f"{list(match.found or ())} in the file, {list(match.shape)} here"
    return match.status


def _first(names: list[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
