"""Pre-trained weights into the backbone and head of a new task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.load import match_tensor
from brainmvp_lightning.weights.sources import WeightSource
from brainmvp_lightning.weights.stem import StemPolicy, adapt_stem
from brainmvp_lightning.weights.transfer_report import (
    Fate,
    TensorFate,
    TransferReport,
    first_names,
)

__all__ = ["TensorFate", "TransferOptions", "TransferReport", "transfer"]


@dataclass(frozen=True)
class TransferOptions:
    """How pre-trained weights are taken over.

    Attributes:
        stem: What becomes of a first layer that was made for other modalities: ``"inflate_mean"``
            gives each channel the mean kernel, scaled so that equal channels are answered as
            before; ``"per_modality"`` gives each channel the kernel of its modality;
            ``"reinit"`` takes nothing, whatever the file's modalities (published code).
        decoder: Whether the head starts from the file too: from the task head of a fine-tuned
            network, else from the reconstruction decoder, where names and shapes agree.
        minimum: Least share of the backbone's tensors that must be filled, and of the encoder in
            the file that must find a place, in [0, 1].

    Raises:
        ValueError: If a value makes no sense.
    """

    stem: StemPolicy = "inflate_mean"
    decoder: bool = True
    minimum: float = 0.9

    def __post_init__(self) -> None:
        if self.stem not in get_args(StemPolicy):
            raise ValueError(f"stem is {self.stem!r}; use {' or '.join(get_args(StemPolicy))}")
        if not 0 <= self.minimum <= 1:
            raise ValueError(f"minimum is {self.minimum}; it is a share from 0 to 1")


class NetworkPart(Protocol):
    """What a transfer needs of any network."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return its tensors by name, which share memory with it."""


class PretrainedBackbone(NetworkPart, Protocol):
    """What a transfer needs of a backbone."""

    stems: tuple[str, ...]


class PretrainedHead(NetworkPart, Protocol):
    """What a transfer needs of a task head."""

    def pretrained_names(self) -> dict[str, str]:
        """Return own names to names in a reconstruction decoder."""


def transfer(
    backbone: PretrainedBackbone,
    head: PretrainedHead | None,
    source: WeightSource,
    modalities: Sequence[str],
    options: TransferOptions = TransferOptions(),
) -> TransferReport:
    """Fill a backbone and a task head, in place, with what fits of pre-trained weights.

    Args:
        backbone: Its `stems` are adapted to other modalities.
        head: Its `stems`, if it has any, are adapted as well, from a head of the same kind. What of
            it is filled does not decide about refusal; None if there is none.
        source: What `brainmvp_lightning.weights.sources.open_source` read.
        modalities: Of the channels that the backbone takes, in order.
        options: Policies and limits.

    Raises:
        WeightsError: If too little of the backbone is filled, or the first layer cannot be adapted
            as asked; both networks are left as they were. The message is one sentence.
    """
    fillings = _fill_backbone(backbone, source, modalities, options)
    if head is not None:
        fillings += _fill_head(head, source, modalities, options)
    fates = tuple(fate for fate, _, _ in fillings)
    taken = {fate.source for fate in fates if fate.is_filled or fate.status == "reinitialised"}
    unused = tuple(name for name in _names(source) if name not in taken)
    network = source.network
    report = TransferReport(source.path, source.title, network, options.stem, fates, unused)
    if min(report.coverage, report.usage) < options.minimum:
        raise WeightsError(_refusal(backbone, report, options.minimum))
    with torch.no_grad():
        for _, own, value in fillings:
            if value is not None:
                own.copy_(value)
    return report


_Filling = tuple[TensorFate, Tensor, Tensor | None]
"""Fate, the tensor to fill, and its value if there is one."""


def _fill_backbone(
    backbone: PretrainedBackbone,
    source: WeightSource,
    modalities: Sequence[str],
    options: TransferOptions,
) -> list[_Filling]:
    fillings = []
    for name, own in backbone.state_dict().items():
        filling = _fill("backbone", name, own, source.encoder.get(name), f"encoder.{name}")
        if name in backbone.stems:
            filling = _fill_stem(filling, source.encoder.get(name), source, modalities, options)
        fillings.append(filling)
    return fillings


def _fill_head(
    head: PretrainedHead,
    source: WeightSource,
    modalities: Sequence[str],
    options: TransferOptions,
) -> list[_Filling]:
    own = head.state_dict()
    part, tensors, names = "decoder", source.decoder, head.pretrained_names()
    if source.head:
        part, tensors, names = "head", source.head, {name: name for name in own}
    if not options.decoder:
        names = {}
    stems: tuple[str, ...] = getattr(head, "stems", ()) if source.head else ()
    fillings = []
    for name, tensor in own.items():
        found = tensors.get(names.get(name, ""))
        filling = _fill("head", name, tensor, found, f"{part}.{names.get(name)}")
        if name in stems:
            filling = _fill_stem(filling, found, source, modalities, options)
        fillings.append(filling)
    return fillings


def _fill_stem(
    filling: _Filling,
    found: Tensor | None,
    source: WeightSource,
    modalities: Sequence[str],
    options: TransferOptions,
) -> _Filling:
    """Return what fills a first layer instead of the weights as they are."""
    fate, own, _ = filling
    if found is None:
        return filling
    channels = own.shape[1]
    target = modalities if len(modalities) == channels else channels
    try:
        kernel = adapt_stem(found, source.modalities, target, options.stem)
    except WeightsError as error:
        raise WeightsError(f"{source.path}: {error}") from error
    if kernel is None:
        return replace(fate, status="reinitialised"), own, None
    if kernel is found:
        return filling
    adapted, own, value = _fill(fate.part, fate.name, own, kernel, str(fate.source))
    status: Fate = "adapted" if adapted.status == "loaded" else adapted.status
    return replace(fate, status=status), own, value


def _fill(
    part: Literal["backbone", "head"], name: str, own: Tensor, found: Tensor | None, label: str
) -> _Filling:
    match = match_tensor(name, tuple(own.shape), found)
    source = None if found is None else label
    fate = TensorFate(part, name, match.shape, match.status, source, match.found)
    return fate, own, found if match.status == "loaded" else None


def _names(source: WeightSource) -> list[str]:
    """Return all names in a file, with the part they belong to; templates have their own reader."""
    parts = (("encoder", source.encoder), ("decoder", source.decoder), ("head", source.head))
    return [f"{part}.{name}" for part, tensors in parts for name in tensors] + list(source.rest)


def _refusal(backbone: PretrainedBackbone, report: TransferReport, minimum: float) -> str:
    name = type(backbone).__name__
    left = [str(fate) for fate in report.of("backbone") if not fate.is_filled]
    reason = f"which fills only {report.coverage:.1%} of {name} ({len(left)} do not fit: "
    if report.coverage >= minimum:
        left = [label for label in report.unused if label.startswith("encoder.")]
        reason = f"of which only {report.usage:.1%} have a place in {name} ({len(left)} have none: "
    return (
        f"{report.path} holds {report.network} ({report.title}), {reason}{first_names(left)}), "
        f"{minimum:.0%} are asked for; choose the backbone and the options of the file, or lower "
        "the minimum of the transfer"
    )
