"""Data module of segmentation: crops for training, whole volumes for validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from brainmvp_lightning.batches import LabelledDescription, Size
from brainmvp_lightning.datamodules.annotations import read_annotation
from brainmvp_lightning.datamodules.channels import ChannelReader, LabelReader
from brainmvp_lightning.datamodules.choosing import Places, StudyChoice
from brainmvp_lightning.datamodules.labelled import (
    VOLUME_CLIP,
    LabelledDataModule,
    LoadingOptions,
)
from brainmvp_lightning.datamodules.reading import NumWorkers, ReadingOptions
from brainmvp_lightning.datamodules.samples import LabelledSample
from brainmvp_lightning.datamodules.sampling import SampleRequest, draw_visit
from brainmvp_lightning.datamodules.targets import LabelTargets
from brainmvp_lightning.datamodules.whole_volume import WholeStudies
from brainmvp_lightning.inference.regions import NativeAnnotation
from brainmvp_lightning.randomness import host_generator, sample_key
from brainmvp_lightning.studies.labels import LabelScheme, find_scheme, label_schemes
from brainmvp_lightning.volumes.blocks import BLOCK_EDGE, decode_blocks
from brainmvp_lightning.volumes.cache import CachedStudy, Clip
from brainmvp_lightning.volumes.index import StudyIndex, StudySelection


@dataclass(frozen=True)
class CropPlan:
    """Where crops are cut.

    Attributes:
        size: Voxels of a crop.
        per_visit: Crops of one study in a batch.
        label_share: Probability that a crop is centred in a block of 8^3 voxels that holds
            annotation (crops of 16 voxels and more hold the whole block); otherwise its place is
            drawn evenly.
    """

    size: Size
    per_visit: int = 1
    label_share: float = 0.0

    def starts(self, request: SampleRequest, study: CachedStudy) -> tuple[list[Size], list[int]]:
        """Draw the first voxel of each crop of a visit, and the key of each crop."""
        if self.per_visit == 1:
            keys = [request.key]
        else:
            keys = [sample_key(request.key, number) for number in range(self.per_visit)]
        return [self._start(replace(request, key=key), study) for key in keys], keys

    def _start(self, request: SampleRequest, study: CachedStudy) -> Size:
        even = draw_visit(request, 1, study.shape, self.size).start
        generator = host_generator(request.key, "label")
        if generator.random() >= self.label_share:
            return even
        blocks = decode_blocks(study.label_blocks, study.shape)
        if not len(blocks):
            return even
        block = blocks[generator.integers(len(blocks))]
        centre = block * BLOCK_EDGE + generator.integers(0, BLOCK_EDGE, 3)
        room = [max(0, n - k) for n, k in zip(study.shape, self.size, strict=True)]
        first = np.clip(centre - np.asarray(self.size) // 2, 0, room)
        # Along an axis without room, the study is centred in the crop as in any other visit.
        x, y, z = (int(f) if r else e for f, r, e in zip(first, room, even, strict=True))
        return x, y, z


@dataclass(frozen=True, eq=False)
class LabelledCrops(Dataset[LabelledSample]):
    """Reads crops of all channels and of the annotation; a pure function of the request.

    Attributes:
        studies: Studies that requests count.
        reader: Reads the channels.
        labels: Reads the annotation.
        reference: Voxel of each study that origins are counted from, ``n 3``.
        plan: Where crops are cut.
    """

    studies: Sequence[CachedStudy]
    reader: ChannelReader
    labels: LabelReader
    reference: NDArray[np.int64]
    plan: CropPlan

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, request: SampleRequest) -> LabelledSample:
        study = self.studies[request.study]
        starts, keys = self.plan.starts(request, study)
        channels = self.reader.read(study, starts, self.plan.size)
        label, fault = self.labels.read(study, starts, self.plan.size)
        start = np.array(starts, np.int64)
        return LabelledSample(
            study=study.id,
            image=channels.image,
            present=channels.present,
            label=label,
            target_class=-1,
            start=start,
            origin=start - self.reference[request.study],
            keys=tuple(keys),
            weight=request.weight if channels.is_usable and not fault else 0.0,
            num_studies=request.num_studies,
            faults=(*channels.faults, *([fault] if fault else [])),
        )


class SegmentationDataModule(LabelledDataModule):
    """Streams crops of aligned modalities with their annotation; evaluates on whole volumes.

    Annotations of different releases mix if their label schemes have the same regions. They come as
    classes that all releases share, or, with ``regions``, as one channel for each region.

    Args:
        cache: Folder that ``brainmvp prepare`` made, or its address, such as ``s3://bucket/cache``.
        modalities: Channels, in order; by default all that the labelled training studies have.
        datasets: Data sets to use; all by default.
        min_modalities: Studies with fewer of the modalities are left out; missing ones are 0.
        label_fraction: Share of the training patients that is used; a smaller share is part of any
            larger one, validation and test stay the same (paper: 0.2, 0.4, 0.6, 0.8, 1).
        label_seed: Another seed uses other patients.
        label_scheme: Meaning of annotations for which the cache names none, such as brats2021.
        regions: Whether the annotation is one channel for each region, which may overlap.
        crop_size: Voxels of a crop (paper: 96 x 96 x 96).
        crops_per_visit: Crops of a study in a batch.
        label_share: Probability that a crop is centred on annotated voxels (paper: 0, crops may lie
            anywhere).
        batch_size: Studies in a batch of one process (paper: 3); whole volumes come one by one.
        num_workers: Processes that read ahead, for each training process; ``auto`` chooses by the
            cores, the device and the shared memory there are.
        visits_per_epoch: Visits to each training study in an epoch.
        clip: Percentiles at which each channel is clipped, then scaled to [0, 1] (paper: 5 and 95).
        placement: Where a crop lies in template space: ``"centre"`` puts the centre of each study
            on the centre of the templates, ``"world"`` trusts the affines.
        local_cache: Folder for copies of what is read, if the cache is an address such as
            ``s3://bucket/cache``.
        local_cache_gb: Size of these copies together, in 10^9 bytes.
        prefetch_factor: Batches that each of these processes reads ahead; outside of training two
            at most.
        prefetch_to_device: Whether the next batch is copied to a GPU while a step runs.
        seed: Seed of order and crops; set by ``seed_everything``.

    Source:
        BrainMVP, supplement B.2.
    """

    def __init__(  # noqa: PLR0913 - what a user may set, each on its own line of YAML
        self,
        cache: str,
        modalities: list[str] | None = None,
        datasets: list[str] | None = None,
        min_modalities: int = 1,
        label_fraction: float = 1.0,
        label_seed: int = 0,
        label_scheme: str | None = None,
        regions: bool = False,
        crop_size: tuple[int, int, int] = (96, 96, 96),
        crops_per_visit: int = 1,
        label_share: float = 0.0,
        batch_size: int = 3,
        num_workers: NumWorkers = "auto",
        visits_per_epoch: int = 1,
        clip: Clip = VOLUME_CLIP,
        placement: Literal["centre", "world"] = "centre",
        local_cache: str | None = None,
        local_cache_gb: float = 50.0,
        prefetch_factor: int = 4,
        prefetch_to_device: bool = True,
        seed: int = 0,
    ) -> None:
        loading = LoadingOptions(
            crop_size=crop_size,
            clip=clip,
            placement=placement,
            batch_size=batch_size,
            reading=ReadingOptions(num_workers, prefetch_factor, prefetch_to_device),
            visits=visits_per_epoch,
            seed=seed,
            local_cache=local_cache,
            local_cache_gb=local_cache_gb,
        )
        choice = StudyChoice(datasets, modalities, min_modalities, label_fraction, label_seed)
        super().__init__(cache, choice, loading)
        self.save_hyperparameters(ignore=["clip"])
        self.save_hyperparameters({"clip": asdict(clip)})
        if crops_per_visit < 1 or not 0 <= label_share <= 1:
            raise ValueError(
                f"data.crops_per_visit is {crops_per_visit} and data.label_share {label_share}; "
                "they must be at least 1, and a probability"
            )
        self.label_scheme = label_scheme
        self.overlapping = regions
        self.crops_per_visit = crops_per_visit
        self.plan = CropPlan(crop_size, crops_per_visit, label_share)

    @cached_property
    def targets(self) -> LabelTargets:
        """Classes and regions, the same for all splits.

        Raises:
            ValueError: If the label schemes of the chosen studies have different regions.
        """
        used = dict.fromkeys(self.candidates.usable().column("label_scheme").tolist())
        return LabelTargets.of([self._scheme(name) for name in used])

    @property
    def num_outputs(self) -> int:
        """Channels that a network must put out: regions, or classes with the background."""
        return len(self.region_names if self.overlapping else self.targets.names)

    @property
    def region_names(self) -> tuple[str, ...]:
        """What is segmented and scored, in order."""
        return self.targets.region_names

    def describe(self) -> LabelledDescription:
        """Say what a task must know of the data."""
        return replace(
            super().describe(),
            num_outputs=self.num_outputs,
            region_names=self.region_names,
            overlapping=self.overlapping,
            label_names=self.targets.names,
            label_regions=self.targets.regions(),
            label_values=self.targets.values(),
        )

    @property
    def evaluation(self) -> LoadingOptions:
        """Outside of training, whole volumes come one by one."""
        return replace(self.loading, visits=1, batch_size=1)

    def faults(self, studies: StudyIndex, places: Places) -> list[str]:
        """Say what keeps studies from being segmented.

        Raises:
            ValueError: If their label scheme is unknown.
        """
        has_label = studies.column("has_label")
        return [self._fault(studies[n]) if has_label[n] else "no annotation" for n in places]

    def _fault(self, study: CachedStudy) -> str:
        if not (study.label_scheme or self.label_scheme):
            return "an annotation without label scheme (name one with data.label_scheme)"
        scheme = self._scheme(study.label_scheme)
        unknown = scheme.unknown_values(study.label_values)
        if unknown:
            listed = ", ".join(map(str, unknown))
            return f"annotation values {listed}, which label scheme {scheme.name!r} does not know"
        return ""

    def dataset(self, studies: StudySelection, purpose: str) -> Dataset[LabelledSample]:
        """Return what reads crops for training, and whole volumes otherwise.

        Raises:
            ValueError: If crops are to be centred on annotations and the cache has no map of them.
        """
        labels = LabelReader(self.cache, self.targets, self.label_scheme or "", self.overlapping)
        reference = self.reference_voxels(studies)
        if purpose == "train":
            self._check_blocks(studies)
            return LabelledCrops(studies, self.reader(), labels, reference, self.plan)
        return WholeStudies(studies, self.reader(), labels, reference, self.crop_size)

    def _check_blocks(self, studies: Sequence[CachedStudy]) -> None:
        if self.plan.label_share > 0 and not any(study.label_blocks for study in studies):
            raise ValueError(
                f"cache {self.cache_path} does not say where annotations lie, which "
                f"data.label_share {self.plan.label_share} needs; prepare it anew, or set it to 0"
            )

    def annotation(self, study_id: str) -> NativeAnnotation:
        """Read the annotation of a study on the grid of its own file.

        Raises:
            VolumeError: If the file is gone, or is no longer the one that was prepared.
            KeyError: If there is no such study.
        """
        study = self.record(study_id)
        scheme = study.label_scheme or self.label_scheme or ""
        return read_annotation(Path(self.cache_path), study, self.targets, scheme)

    def _scheme(self, name: str | None) -> LabelScheme:
        return find_scheme(name or self.label_scheme or "", self._schemes)

    @cached_property
    def _schemes(self) -> dict[str, LabelScheme]:
        return {**label_schemes(), **self.cache.label_schemes}
