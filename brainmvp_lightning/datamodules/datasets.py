"""Crops of single-modality scans, read from a cache."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from brainmvp_lightning.batches import Size
from brainmvp_lightning.datamodules.balance import scan_weights
from brainmvp_lightning.datamodules.packing import BatchPlan, PackedBatch, Row, Source, pack
from brainmvp_lightning.datamodules.placing import CropCentre, place_crops
from brainmvp_lightning.datamodules.sampling import SampleRequest, Visit, draw_visit
from brainmvp_lightning.datamodules.sharing import BatchPool, warn_of_little_room
from brainmvp_lightning.randomness import sample_key
from brainmvp_lightning.volumes.cache import Cache, CachedStudy, CacheError, Clip


@dataclass(frozen=True)
class CropOptions:
    """How a visit turns into crops.

    Attributes:
        size: Voxels of a crop.
        clip: Percentiles at which intensities are clipped and scaled to [0, 1].
        modalities_per_step: ``1`` draws one target a visit, ``"all"`` takes each modality of the
            study (equation 6).
        with_partner: Whether a second modality is read at all.
        shared_modality: Draw the number of the target scan once for all samples of a step
            (published code).
        series_per_study: Force each study to this many scans by leaving out or repeating
            (published code).
        crop_centre: Where crops lie; see `placing.place_crops`.
        crops_per_visit: Crops of the same scans at a visit, which share its weight.
        modality_weights: Relative probability of each modality to be the target; others are not
            used. None uses all alike.
    """

    size: Size
    clip: Clip
    modalities_per_step: Literal["1", "all"] = "1"
    with_partner: bool = True
    shared_modality: bool = False
    series_per_study: int | None = None
    crop_centre: CropCentre = "box"
    crops_per_visit: int = 1
    modality_weights: Mapping[str, float] | None = None

    def plan(self, num_visits: int, num_studies: int, num_modalities: int) -> BatchPlan:
        """Return the room that a batch of some visits needs at most.

        Args:
            num_visits: Visits of the batch.
            num_studies: Visits of the step that count, over all ranks.
            num_modalities: Most scans of a study.
        """
        crops = num_visits * self.crops_per_visit
        takes_all = self.modalities_per_step == "all"
        max_targets = crops * (num_modalities if takes_all else 1)
        max_partners = crops if self.with_partner and not takes_all else 0
        return BatchPlan(
            self.size, num_visits, num_studies, max_targets, max_targets + max_partners
        )


class StudyCrops(Dataset[PackedBatch]):
    """Reads the crops of visits; a pure function of the requests.

    A scan that cannot be read is named in the batch's faults and replaced by the next choice; a
    study without a readable scan gives one row of zeros with no share in the loss.

    Args:
        cache: Where scans are read from.
        studies: Studies that requests count.
        reference_voxels: Place of the reference point of the data in each study's grid, ``n 3``.
        options: How a visit turns into crops.
    """

    def __init__(
        self,
        cache: Cache,
        studies: Sequence[CachedStudy],
        reference_voxels: np.ndarray,
        options: CropOptions,
    ) -> None:
        self.cache = cache
        self.studies = studies
        self.reference_voxels = reference_voxels
        self.options = options
        self.pool: BatchPool | None = None

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, request: SampleRequest) -> PackedBatch:
        return self.__getitems__([request])

    def __getitems__(self, requests: Sequence[SampleRequest]) -> PackedBatch:
        """Return the crops of some visits as one batch."""
        faults: list[str] = []

        def visits() -> Iterator[list[Row]]:
            for request in requests:
                visit = _Visit(self, request)
                yield visit.rows()
                faults.extend(visit.faults)

        plan = self.options.plan(len(requests), requests[0].num_studies, len(self.cache.modalities))
        batch = pack(visits(), plan, self.pool)
        batch.facts["faults"] = faults
        return batch

    def share_memory(self, batch_size: int, num_workers: int, ahead: int) -> None:
        """Make memory that workers share with this process, once; call it before they start.

        Args:
            batch_size: Visits of a batch.
            num_workers: Worker processes.
            ahead: Batches that each of them may have on the way.
        """
        if self.pool is None:
            plan = self.options.plan(batch_size, 0, len(self.cache.modalities))
            slot_size = plan.max_crops * math.prod(plan.size)
            warn_of_little_room(num_workers * ahead * slot_size)
            self.pool = BatchPool(num_workers, ahead, slot_size)


class _Visit:
    """What is read at a visit, each scan once."""

    def __init__(self, dataset: StudyCrops, request: SampleRequest) -> None:
        self.cache = dataset.cache
        self.options = dataset.options
        self.request = request
        self.study = dataset.studies[request.study]
        self.reference = dataset.reference_voxels[request.study]
        self.faults: list[str] = []
        self.sources: dict[int, Source | None] = {}

    def rows(self) -> list[Row]:
        """Return the targets of the visit."""
        options = self.options
        takes_all = options.modalities_per_step == "all"
        weights = options.modality_weights
        visit = draw_visit(
            self.request,
            len(self.study.scans),
            self.study.shape,
            options.size,
            all_modalities=takes_all,
            shared_modality=options.shared_modality,
            series=options.series_per_study,
            scan_weights=None if weights is None else scan_weights(self.study, weights),
        )
        starts = [visit.start]
        if options.crop_centre != "box" or options.crops_per_visit > 1:
            starts = place_crops(
                self.request.key,
                self.study,
                options.size,
                options.crop_centre,
                options.crops_per_visit,
            )
        found = self._find(visit, takes_all=takes_all)
        if not found:
            return [self._row(starts[0], self.request.key, 0.0)]
        share = self.request.weight / (len(found) * len(starts))
        return [
            self._row(start, self._key(target, number, takes_all), share, target, partner)
            for target, partner in found
            for number, start in enumerate(starts)
        ]

    def _find(self, visit: Visit, *, takes_all: bool) -> list[tuple[int, int | None]]:
        """Return the targets that can be read, each with the first partner that can."""
        found: list[tuple[int, int | None]] = []
        for target, partners in zip(visit.targets, visit.partners, strict=True):
            if self._read(target) is None:
                continue
            others = partners if self.options.with_partner else ()
            partner = next((scan for scan in others if self._read(scan) is not None), None)
            found.append((target, partner))
            if not takes_all:
                break
        return found

    def _read(self, scan: int) -> Source | None:
        if scan not in self.sources:
            self.sources[scan] = self._open(scan)
        return self.sources[scan]

    def _open(self, place: int) -> Source | None:
        scan = self.study.scans[place]
        try:
            return Source(self.cache.open_frame(self.study, scan), scan, self.options.clip)
        except (CacheError, OSError) as error:
            self.faults.append(f"{self.study.id}: {error}")
            return None

    def _key(self, target: int, number: int, takes_all: bool) -> int:
        key = sample_key(self.request.key, target) if takes_all else self.request.key
        return sample_key(key, number, "crop") if number else key

    def _row(
        self,
        start: Size,
        key: int,
        share: float,
        target: int | None = None,
        partner: int | None = None,
    ) -> Row:
        x, y, z = (int(place) for place in np.asarray(start) - self.reference)
        return Row(
            study=self.study.id,
            start=start,
            origin=(x, y, z),
            key=key,
            share=share,
            target=None if target is None else self.sources[target],
            modality=0 if target is None else self._modality(target),
            partner=None if partner is None else self.sources[partner],
            partner_modality=-1 if partner is None else self._modality(partner),
        )

    def _modality(self, scan: int) -> int:
        return self.cache.modalities.index(self.study.scans[scan].modality)


def as_batch(batch: PackedBatch) -> PackedBatch:
    """Return what `StudyCrops` has put together already."""
    return batch
