"""What the data modules of fine-tuning share: chosen studies, aligned channels, batches."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from brainmvp_lightning.batches import LabelledDescription, Size
from brainmvp_lightning.datamodules.base import StudyDataModule
from brainmvp_lightning.datamodules.channels import ChannelReader
from brainmvp_lightning.datamodules.choosing import Candidates, Places, StudyChoice
from brainmvp_lightning.datamodules.geometry import Placement, centre_mm, reference_voxels
from brainmvp_lightning.datamodules.loading import CountedLoader
from brainmvp_lightning.datamodules.reading import ReadingOptions
from brainmvp_lightning.datamodules.samples import (
    LabelledSample,
    collate_labelled,
    collate_volumes,
)
from brainmvp_lightning.datamodules.sampling import StudySampler
from brainmvp_lightning.volumes.cache import Cache, CachedStudy, Clip
from brainmvp_lightning.volumes.index import StudyIndex, StudySelection

VOLUME_CLIP = Clip(5.0, 95.0, "volume")
"""Source: BrainMVP, supplement B.2: 5th and 95th percentile of each channel."""


@dataclass(frozen=True)
class LoadingOptions:
    """How studies are read and put into batches.

    Attributes:
        crop_size: Voxels of a crop.
        clip: Percentiles at which each channel is clipped and scaled to [0, 1].
        placement: Where a crop lies in template space: ``"centre"`` or ``"world"``.
        batch_size: Studies in a batch of one process.
        reading: How far batches are read ahead, and by how many processes.
        visits: Visits to each training study in an epoch.
        seed: Seed of order and crops.
        local_cache: Folder for copies of what is read from an address; None keeps none.
        local_cache_gb: Size of these copies together, in 10^9 bytes.
    """

    crop_size: Size
    clip: Clip = VOLUME_CLIP
    placement: Placement = "centre"
    batch_size: int = 1
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    visits: int = 1
    seed: int = 0
    local_cache: str | None = None
    local_cache_gb: float = 50.0


class PredictionBatches:
    """A loader that a trainer takes as it is.

    For prediction Lightning rebuilds every `DataLoader` around a sampler of its own, which notes
    indices; ours asks for more than an index, and batches name their studies.

    Args:
        loader: What is iterated over.
    """

    def __init__(self, loader: CountedLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


class LabelledDataModule(StudyDataModule):
    """Studies with aligned modalities as channels.

    Subclasses say which studies can take part (`faults`) and how they are read (`dataset`).

    Args:
        cache: Folder that ``brainmvp prepare`` made, or its address.
        choice: Studies and channels.
        loading: How they are read.
    """

    def __init__(self, cache: str, choice: StudyChoice, loading: LoadingOptions) -> None:
        super().__init__()
        self.cache_path = cache
        self.choice = choice
        self.loading = loading
        self.crop_size = loading.crop_size
        self.batch_size = loading.batch_size
        self.crops_per_visit = 1
        """Crops of a study in a batch of the training."""
        self.seed = loading.seed

    @cached_property
    def cache(self) -> Cache:
        """The opened cache.

        Raises:
            CacheError: If there is none at the path, or it cannot be read.
        """
        loading = self.loading
        return Cache.open(
            self.cache_path,
            local_cache=loading.local_cache,
            local_cache_gb=loading.local_cache_gb,
        )

    @cached_property
    def candidates(self) -> Candidates:
        """The studies of the chosen data sets, whatever their split.

        Raises:
            ValueError: If the cache has no such data set.
        """
        return Candidates(self.cache, self.choice, self.faults)

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Channels, in order; the same for all splits.

        Raises:
            ValueError: If the cache knows no such modality, or no study can take part.
        """
        return self.candidates.modalities()

    @property
    def channels(self) -> int:
        """Number of input channels of a network."""
        return len(self.modalities)

    @abstractmethod
    def faults(self, studies: StudyIndex, places: Places) -> list[str]:
        """Say of some studies what they lack, in words that follow "they have"; or nothing."""

    @abstractmethod
    def dataset(self, studies: StudySelection, purpose: str) -> Dataset[LabelledSample]:
        """Return what reads the studies for ``train``, ``val``, ``test`` or ``predict``."""

    def describe(self) -> LabelledDescription:
        """Say what a task must know of the data.

        Raises:
            CacheError: If there is no cache.
            ValueError: If no study can take part.
        """
        return LabelledDescription(
            modalities=self.modalities,
            spacing_mm=(self.cache.spacing_mm,) * 3,
            centre_mm=centre_mm(self.cache.studies),
            crop_size=self.crop_size,
            placement=self.loading.placement,
            clip=asdict(self.loading.clip),
            recipe=self.cache.recipe,
        )

    def studies(self, split: str) -> StudySelection:
        """Return the studies of a split (or of ``all``) that take part; a warning counts others.

        Raises:
            ValueError: If none is left.
        """
        return self.candidates.choose(split, self.modalities)

    def record(self, study_id: str) -> CachedStudy:
        """Return what the cache knows of a study.

        Raises:
            KeyError: If there is no such study.
        """
        return self.cache.studies[self._places[study_id]]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.cache.studies.column("id").tolist())}

    def setup(self, stage: str) -> None:
        """Open the cache and check that the split in use is not empty."""
        self.studies({"fit": "train", "validate": "val"}.get(stage, "test"))

    def train_dataloader(self) -> CountedLoader:
        """Return the loader of the training studies."""
        return self.loader("train", "train", self.loading)

    def val_dataloader(self) -> CountedLoader:
        """Return the loader of the validation studies."""
        return self.loader("val", "val", self.evaluation)

    def test_dataloader(self) -> CountedLoader:
        """Return the loader of the test studies."""
        return self.loader("test", "test", self.evaluation)

    def predict_dataloader(self) -> PredictionBatches:
        """Return the batches of the test studies."""
        return PredictionBatches(self.loader("test", "predict", self.evaluation))

    @property
    def evaluation(self) -> LoadingOptions:
        """How studies are put into batches outside of training: one visit each."""
        return replace(self.loading, visits=1)

    def loader(self, split: str, purpose: str, loading: LoadingOptions) -> CountedLoader:
        """Return a loader: disjoint over ranks, and one that resumes in the middle of an epoch."""
        studies = self.studies(split)
        trainer = self.trainer
        sampler = StudySampler(
            len(studies),
            batch_size=loading.batch_size,
            seed=loading.seed,
            visits=loading.visits,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            purpose=purpose,
        )
        if purpose == "train" and trainer is not None:
            self.journey.lead(sampler, trainer.accumulate_grad_batches)
        is_training = purpose == "train"
        options = loading.reading
        if not is_training:  # whole volumes are large, and what is done with them takes long
            options = replace(options, prefetch_factor=min(options.prefetch_factor, 2))
        batch_bytes = loading.batch_size * self._sample_bytes(studies, purpose)
        return CountedLoader(
            self.dataset(studies, purpose),
            sampler,
            self.reading(options, sampler, batch_bytes, to_device=is_training),
            collate_fn=self.collate(purpose),
            # A prediction passes once, and what is left to the garbage collector ends late.
            keep_workers=purpose != "predict",
        )

    def _sample_bytes(self, studies: StudySelection, purpose: str) -> int:
        """Return the most that images and annotation of a study may take."""
        if purpose == "train":
            voxels = self.crops_per_visit * math.prod(self.crop_size)
        else:
            voxels = int(np.maximum(studies.column("shape"), self.crop_size).prod(axis=1).max())
        return voxels * (4 * self.channels + 1)

    def collate(self, purpose: str) -> Any:  # noqa: ANN401 - of samples to either kind of batch
        """Return what puts samples into a batch."""
        return collate_labelled if purpose == "train" else collate_volumes

    def reader(self) -> ChannelReader:
        """Return what reads the channels."""
        return ChannelReader(self.cache, self.modalities, self.loading.clip)

    def reference_voxels(self, studies: StudySelection) -> NDArray[np.int64]:
        """Return the voxel of each study that origins are counted from, ``n 3``."""
        return reference_voxels(studies, self.loading.placement, centre_mm(self.cache.studies))
