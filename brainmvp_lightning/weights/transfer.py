"""Pre-trained weights into the backbone and head of a new task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.head_fit import HeadFit, compare_heads
from brainmvp_lightning.weights.load import match_tensor
from brainmvp_lightning.weights.options import all_options, class_in_file, hidden_differences
from brainmvp_lightning.weights.positions import NAME, Grid, grid_in_file, resize_positions
from brainmvp_lightning.weights.sources import WeightSource
from brainmvp_lightning.weights.stem import StemPolicy, adapt_stem, is_order_assumed
from brainmvp_lightning.weights.transfer_report import (
    Fate,
    TensorFate,
    TransferReport,
    first_names,
)

__all__ = ["TensorFate", "TransferOptions", "TransferReport", "transfer"]

_UNKNOWN: Mapping[str, Any] = MappingProxyType({})


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
    spec: Mapping[str, Any] = _UNKNOWN,
) -> TransferReport:
    """Fill a backbone and a task head, in place, with what fits of pre-trained weights.

    Args:
        backbone: Its `stems` are adapted to other modalities.
        head: Its `stems`, if it has any, are adapted as well. A head in the file is taken if it is
            of the same kind, the layers of its answers if these are known to be the same. What of
            it is filled does not decide about refusal; None if there is none.
        source: What `brainmvp_lightning.weights.sources.open_source` read.
        modalities: Of the channels that the backbone takes, in order.
        options: Policies and limits.
        spec: Of the new network, as `inference.model.FineTunedModel.spec` returns it: ``backbone``,
            ``head``, ``task``, ``description``; what it lacks is not compared with the file.

    Raises:
        WeightsError: If too little of the backbone is filled, its options differ where no shape
            shows it, or the first layer cannot be adapted as asked; both networks are left as they
            were. The message is one sentence.
    """
    _refuse_other_options(backbone, source, spec)
    fillings = _fill_backbone(backbone, source, modalities, options, spec)
    notes = [_assumed_order(source, modalities)] if _assumes_order(fillings) else []
    if head is not None:
        fit = compare_heads(head, source.manifest, spec)
        fillings += _fill_head(head, source, modalities, options, fit)
        notes += [f"head: {fit.note}"] if source.head and options.decoder and fit.note else []
    fates = tuple(fate for fate, _, _ in fillings)
    taken = {fate.source for fate in fates if fate.is_filled or fate.status == "reinitialised"}
    unused = tuple(name for name in _names(source) if name not in taken)
    network = source.network
    report = TransferReport(
        source.path, source.title, network, options.stem, fates, unused, tuple(notes)
    )
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
    spec: Mapping[str, Any],
) -> list[_Filling]:
    fillings = []
    for name, own in backbone.state_dict().items():
        found = source.encoder.get(name)
        filling = _fill("backbone", name, own, found, f"encoder.{name}")
        if name in backbone.stems:
            filling = _fill_stem(filling, found, source, modalities, options)
        elif name.endswith(NAME) and filling[0].status == "other shape":
            filling = _fill_positions(filling, backbone, source, spec.get("backbone") or {})
        fillings.append(filling)
    return fillings


def _fill_positions(
    filling: _Filling, backbone: PretrainedBackbone, source: WeightSource, asked: Mapping[str, Any]
) -> _Filling:
    """Return what fills learned positions instead of those of another size of image."""
    fate, own, _ = filling
    told, found = source.backbone, source.encoder[fate.name]
    cls = class_in_file(backbone, told, asked)
    new: Grid | None = getattr(backbone, "grid_shape", None)
    if cls is None or new is None or found.ndim != 3 or found.shape[2] != own.shape[2]:
        return filling
    old = grid_in_file(found, all_options(cls, told))
    if old is None:
        return filling
    value = resize_positions(found, old, new)
    return _adapted(filling, value, "adapted, positions interpolated")


def _fill_head(
    head: PretrainedHead,
    source: WeightSource,
    modalities: Sequence[str],
    options: TransferOptions,
    fit: HeadFit,
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
        is_filled = filling[0].is_filled
        if part == "head" and names and not fit.is_same_kind:
            fate = TensorFate("head", name, tuple(tensor.shape), "other head", None, None)
            filling = fate, tensor, None
        elif part == "head" and is_filled and not fit.takes(name):
            filling = replace(filling[0], status="other outputs"), tensor, None
        elif name in stems:
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
    if kernel is not found:
        return _adapted(filling, kernel)
    if fate.status == "loaded" and is_order_assumed(found, source.modalities, target):
        return replace(fate, status="adapted, channel order unknown"), own, kernel
    return filling


def _adapted(filling: _Filling, value: Tensor, how: Fate = "adapted") -> _Filling:
    """Return a filling with a value that was fitted to the new network."""
    fate, own, _ = filling
    filled, own, taken = _fill(fate.part, fate.name, own, value, str(fate.source))
    status: Fate = how if filled.status == "loaded" else filled.status
    return replace(fate, status=status), own, taken


def _assumes_order(fillings: Sequence[_Filling]) -> bool:
    return any(fate.status == "adapted, channel order unknown" for fate, _, _ in fillings)


def _assumed_order(source: WeightSource, modalities: Sequence[str]) -> str:
    return (
        f"{source.path.name} does not say which modalities the channels of its first layer are: "
        f"they were taken to be {', '.join(modalities)}, in this order; if that is wrong, put "
        "data.modalities in the order of the file, or choose the stem policy reinit"
    )


def _refuse_other_options(
    backbone: PretrainedBackbone, source: WeightSource, spec: Mapping[str, Any]
) -> None:
    """Refuse weights whose network had other options, where these are known on both sides.

    Raises:
        WeightsError: If one differs that no shape shows.
    """
    told, asked = source.backbone, spec.get("backbone")
    if not asked or not told:
        return
    for name, before, now in sorted(hidden_differences(backbone, told, asked)):
        raise WeightsError(
            f"{source.path} holds {source.network} trained with {name} {before}, but the backbone "
            f"has {name} {now}: its weights would fit and mean something else; give the backbone "
            f"{name} {before}"
        )


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
