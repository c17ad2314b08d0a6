"""Crops of single-modality scans, read from a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from brainmvp_lightning.batches import Size, StudyBatch
from brainmvp_lightning.datamodules.sampling import SampleRequest, Visit, draw_visit
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
    """

    size: Size
    clip: Clip
    modalities_per_step: Literal["1", "all"] = "1"
    with_partner: bool = True
    shared_modality: bool = False
    series_per_study: int | None = None


@dataclass(frozen=True)
class Row:
    """One target of a visit."""

    image: np.ndarray
    modality: int
    key: int
    share: float
    partner: np.ndarray | None = None
    partner_modality: int = -1


@dataclass(frozen=True)
class VisitSample:
    """All targets of a visit, and the scans that could not be read."""

    study: str
    origin: tuple[int, int, int]
    rows: tuple[Row, ...]
    num_studies: int
    faults: tuple[str, ...]


class StudyCrops(Dataset[VisitSample]):
    """Reads the crops of a visit; a pure function of the request.

    A scan that cannot be read is named in the sample's faults and replaced by the next choice; a
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

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, request: SampleRequest) -> VisitSample:
        study = self.studies[request.study]
        take_all = self.options.modalities_per_step == "all"
        visit = draw_visit(
            request,
            len(study.scans),
            study.shape,
            self.options.size,
            all_modalities=take_all,
            shared_modality=self.options.shared_modality,
            series=self.options.series_per_study,
        )
        crops = _Crops(self, study, visit)
        rows = self._rows(crops, visit, request, take_all)
        origin = np.asarray(visit.start) - self.reference_voxels[request.study]
        return VisitSample(
            study=study.id,
            origin=(int(origin[0]), int(origin[1]), int(origin[2])),
            rows=rows or (self._nothing(request),),
            num_studies=request.num_studies,
            faults=tuple(crops.faults),
        )

    def _rows(
        self, crops: _Crops, visit: Visit, request: SampleRequest, take_all: bool
    ) -> tuple[Row, ...]:
        found = []
        for target, partners in zip(visit.targets, visit.partners, strict=True):
            image = crops.read(target)
            if image is None:
                continue
            found.append((target, image, crops.first_readable(partners)))
            if not take_all:
                break
        return tuple(
            Row(
                image=image,
                modality=crops.modality(target),
                key=sample_key(request.key, target) if take_all else request.key,
                share=request.weight / len(found),
                partner=None if partner is None else crops.read(partner),
                partner_modality=-1 if partner is None else crops.modality(partner),
            )
            for target, image, partner in found
        )

    def _nothing(self, request: SampleRequest) -> Row:
        zeros = np.zeros(self.options.size, np.float32)
        return Row(image=zeros, modality=0, key=request.key, share=0.0)


class _Crops:
    """Crops of one visit, each read once."""

    def __init__(self, dataset: StudyCrops, study: CachedStudy, visit: Visit) -> None:
        self.dataset = dataset
        self.study = study
        self.visit = visit
        self.faults: list[str] = []
        self.memory: dict[int, np.ndarray | None] = {}

    def read(self, scan: int) -> np.ndarray | None:
        if scan not in self.memory:
            self.memory[scan] = self._read(scan)
        return self.memory[scan]

    def _read(self, scan: int) -> np.ndarray | None:
        options = self.dataset.options
        try:
            return self.dataset.cache.read_unit_crop(
                self.study, self.study.scans[scan], self.visit.start, options.size, options.clip
            )
        except (CacheError, OSError) as error:
            self.faults.append(f"{self.study.id}: {error}")
            return None

    def first_readable(self, scans: Sequence[int]) -> int | None:
        if not self.dataset.options.with_partner:
            return None
        return next((scan for scan in scans if self.read(scan) is not None), None)

    def modality(self, scan: int) -> int:
        return self.dataset.cache.modalities.index(self.study.scans[scan].modality)


def collate(samples: Sequence[VisitSample]) -> StudyBatch:
    """Put visits into a batch; shares are divided by the number of visits."""
    rows = [row for sample in samples for row in sample.rows]
    origins = [sample.origin for sample in samples for _ in sample.rows]
    partnered = [place for place, row in enumerate(rows) if row.partner is not None]
    partners = [row.partner for row in rows if row.partner is not None]
    size = rows[0].image.shape
    return StudyBatch(
        image=torch.from_numpy(np.stack([row.image for row in rows])[:, None]),
        modality=torch.tensor([row.modality for row in rows]),
        partner=torch.from_numpy(
            np.stack(partners)[:, None] if partners else np.zeros((0, 1, *size), np.float32)
        ),
        partner_rows=torch.tensor(partnered, dtype=torch.int64),
        partner_modality=torch.tensor(
            [rows[place].partner_modality for place in partnered], dtype=torch.int64
        ),
        origin=torch.tensor(origins),
        key=torch.tensor([row.key for row in rows]),
        weight=torch.tensor([row.share / len(samples) for row in rows], dtype=torch.float32),
        num_studies=samples[0].num_studies,
        study=[sample.study for sample in samples for _ in sample.rows],
        faults=[fault for sample in samples for fault in sample.faults],
    )
