"""Batches as they travel: stored integers, which become intensities where the network runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainmvp_lightning.batches import Size, StudyBatch
from brainmvp_lightning.datamodules.sharing import BatchPool, Lease, Slot, allocate
from brainmvp_lightning.volumes.cache import CachedScan, CacheError, Clip
from brainmvp_lightning.volumes.crops import fill_crop, unit_crop
from brainmvp_lightning.volumes.frame import OpenFrame

STORED = np.dtype(np.int16)
_COLUMNS = ("study", "origin", "key", "share", "modality")


class Source:
    """A stored volume, read and checked, of which crops can be decoded.

    Args:
        frame: The volume.
        scan: What it is.
        clip: Percentiles that become 0 and 1.

    Raises:
        CacheError: If its integers do not fit a batch.
    """

    def __init__(self, frame: OpenFrame, scan: CachedScan, clip: Clip) -> None:
        self.frame = frame
        self.scan = scan
        self.clip = clip
        mapping = scan.unit_mapping(clip)
        self.is_binary = mapping is None  # both percentiles coincide
        self.mapping = mapping or (1.0, 0.0)
        """Scale and offset that bring what `decode` writes to [0, 1], before clipping."""
        extremes = np.iinfo(STORED)
        # What lies beyond the stored box becomes 0: an integer that is clipped.
        self.outside = int(extremes.min if self.mapping[0] > 0 else extremes.max)
        lowest = self.outside * self.mapping[0] + self.mapping[1]
        if not np.can_cast(scan.dtype, STORED) or lowest > 0:
            raise CacheError(
                f"{scan.file}: type {scan.dtype} or percentiles do not fit 16 bits; "
                "prepare the cache anew into an empty folder"
            )

    def decode(self, start: Size, crop: NDArray[np.int16]) -> None:
        """Write a crop, ``x y z``, that begins at voxel `start` of the stored box."""
        if self.is_binary:
            crop[...] = unit_crop(self.frame, self.scan, start, crop.shape, self.clip)
        else:
            fill_crop(self.frame, start, crop, self.outside)


@dataclass(frozen=True)
class Row:
    """One target of a visit, and its partner; a target of None is all 0."""

    study: str
    start: Size
    origin: Size
    key: int
    share: float
    target: Source | None
    modality: int = 0
    partner: Source | None = None
    partner_modality: int = -1


class PackedBatch:
    """A `StudyBatch` whose crops are integers.

    Args:
        voxels: Crops, ``n 1 x y z``, int16: those of the targets first.
        mapping: Scale and offset of each crop, ``n 2``, float32.
        partner_crops: Which of the crops the partners are, ``p``; None if those are all the rest.
        facts: All of a `StudyBatch` except ``image`` and ``partner``.
        lease: Memory the voxels are lent from.
    """

    def __init__(
        self,
        voxels: Tensor,
        mapping: Tensor,
        partner_crops: Tensor | None,
        facts: dict[str, Any],
        lease: Slot | None = None,
    ) -> None:
        self.voxels = voxels
        self.mapping = mapping
        self.partner_crops = partner_crops
        self.facts = facts
        self.lease = lease

    def to(self, device: torch.device | str) -> PackedBatch:
        """Return the batch on a device; the memory its voxels were lent from is given back."""
        moved = self._convert(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))
        return self._given_back(moved)

    def pin_memory(self) -> PackedBatch:
        """Return the batch in page-locked memory; see `to`."""
        return self._given_back(self._convert(lambda tensor: tensor.pin_memory()))

    def unpack(self) -> StudyBatch:
        """Scale and clip the crops to [0, 1] where they are; the lent memory is given back."""
        unit = _scale(self.voxels, self.mapping)
        self.give_back()
        num_targets = len(self.facts["key"])
        partner = unit[num_targets:] if self.partner_crops is None else unit[self.partner_crops]
        batch: Any = {"image": unit[:num_targets], "partner": partner, **self.facts}
        return cast("StudyBatch", batch)

    def give_back(self) -> None:
        """Let others overwrite the voxels, if they lie in lent memory."""
        if self.lease is not None:
            self.lease.end()
            self.lease = None
            self.voxels = self.voxels.new_empty(0)  # rather an error than the voxels of others

    def _convert(self, convert: Any) -> PackedBatch:  # noqa: ANN401 - a function of tensors
        facts = {
            name: convert(value) if isinstance(value, Tensor) else value
            for name, value in self.facts.items()
        }
        partner_crops = None if self.partner_crops is None else convert(self.partner_crops)
        return PackedBatch(convert(self.voxels), convert(self.mapping), partner_crops, facts)

    def _given_back(self, moved: PackedBatch) -> PackedBatch:
        if moved.voxels.data_ptr() == self.voxels.data_ptr():
            moved.lease, self.lease = self.lease, None
        else:
            self.give_back()
        return moved

    def __getstate__(self) -> dict[str, Any]:
        # The small tensors travel as arrays: each shared tensor costs a file descriptor.
        state = dict(self.__dict__)
        state["facts"] = {name: _as_array(value) for name, value in self.facts.items()}
        state["mapping"] = _as_array(self.mapping)
        state["partner_crops"] = _as_array(self.partner_crops)
        if isinstance(self.lease, Lease):  # a copy of a batch that has arrived
            state["lease"], state["voxels"] = None, self.voxels.clone()
        elif self.lease is not None:  # on the way from a worker
            state["voxels"] = tuple(self.voxels.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["facts"] = {name: _as_tensor(value) for name, value in state["facts"].items()}
        for name in ("mapping", "partner_crops"):
            state[name] = _as_tensor(state[name])
        if state["lease"] is not None:
            state["voxels"] = state["lease"].view(state["voxels"])
        self.__dict__.update(state)


def _scale(voxels: Tensor, mapping: Tensor) -> Tensor:
    """Return ``clip(voxels * scale + offset, 0, 1)`` of each crop, ``n 1 x y z``, float32."""
    if voxels.device.type != "cpu":
        scale, offset = mapping.view(-1, 2, 1, 1, 1, 1).unbind(1)
        return voxels.to(torch.float32).mul_(scale).add_(offset).clamp_(0.0, 1.0)
    unit = torch.empty(voxels.shape, dtype=torch.float32)
    # One crop at a time stays in the processor's cache.
    for target, crop, (scale, offset) in zip(unit, voxels, mapping.tolist(), strict=True):
        target.copy_(crop).mul_(scale).add_(offset).clamp_(0.0, 1.0)
    return unit


def _as_array(value: Any) -> Any:  # noqa: ANN401 - a fact of a batch
    return value.numpy() if isinstance(value, Tensor) else value


def _as_tensor(value: Any) -> Any:  # noqa: ANN401 - a fact of a batch
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class BatchPlan:
    """What is known of a batch before anything is read.

    Args:
        size: Voxels of a crop.
        num_visits: Visits to studies; shares are divided by it.
        num_studies: Visits of the step that count, over all ranks.
        max_targets: Most targets there can be; the same on all ranks.
        max_crops: Most crops there can be, partners included.
    """

    size: Size
    num_visits: int
    num_studies: int
    max_targets: int
    max_crops: int


def pack(visits: Iterable[list[Row]], plan: BatchPlan, pool: BatchPool | None) -> PackedBatch:
    """Decode the crops of some visits into one batch, each visit as it comes.

    Args:
        visits: The targets of each visit.
        plan: How much room they need.
        pool: Memory that a worker takes for the batch.
    """
    packing = _Packing(plan, pool)
    for rows in visits:
        packing.add(rows)
    return packing.finish()


class _Packing:
    """A batch that is being filled: targets from the front, partners behind the last target."""

    def __init__(self, plan: BatchPlan, pool: BatchPool | None) -> None:
        self.plan = plan
        self.voxels, self.lease = allocate((plan.max_crops, 1, *plan.size), pool)
        self.images = self.voxels.numpy()[:, 0]
        self.mapping = np.zeros((plan.max_crops, 2), np.float32)
        self.next_partner = plan.max_targets
        self.partner_crops: list[int] = []
        self.partner_rows: list[int] = []
        self.columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self.partner_modality: list[int] = []

    def add(self, rows: list[Row]) -> None:
        first = len(self.columns["key"])
        places = {(id(row.target), row.start): first + n for n, row in enumerate(rows)}
        for place, row in enumerate(rows, first):
            self._decode(place, row.target, row.start)
            for name, column in self.columns.items():
                column.append(getattr(row, name))
            if row.partner is None:
                continue
            if (id(row.partner), row.start) not in places:
                places[id(row.partner), row.start] = self.next_partner
                self._decode(self.next_partner, row.partner, row.start)
                self.next_partner += 1
            self.partner_rows.append(place)
            self.partner_crops.append(places[id(row.partner), row.start])
            self.partner_modality.append(row.partner_modality)

    def _decode(self, place: int, source: Source | None, start: Size) -> None:
        if source is None:
            self.images[place] = 0
            return
        source.decode(start, self.images[place])
        self.mapping[place] = source.mapping

    def finish(self) -> PackedBatch:
        num_targets, num_partners = len(self.columns["key"]), self.next_partner
        num_crops = num_targets if num_partners == self.plan.max_targets else num_partners
        self.images[num_targets : self.plan.max_targets] = 0  # no scan was readable there
        in_order = self.partner_crops == list(range(num_targets, num_crops))
        share = np.asarray(self.columns["share"], np.float32) / self.plan.num_visits
        facts = {
            "modality": torch.tensor(self.columns["modality"], dtype=torch.int64),
            "partner_rows": torch.tensor(self.partner_rows, dtype=torch.int64),
            "partner_modality": torch.tensor(self.partner_modality, dtype=torch.int64),
            "origin": torch.tensor(self.columns["origin"], dtype=torch.int64),
            "key": torch.tensor(self.columns["key"], dtype=torch.int64),
            "weight": torch.from_numpy(share),
            "num_studies": self.plan.num_studies,
            "capacity": self.plan.max_targets,
            "study": self.columns["study"],
            "faults": [],
        }
        return PackedBatch(
            self.voxels[:num_crops],
            torch.from_numpy(self.mapping[:num_crops]),
            None if in_order else torch.tensor(self.partner_crops, dtype=torch.int64),
            facts,
            self.lease,
        )
