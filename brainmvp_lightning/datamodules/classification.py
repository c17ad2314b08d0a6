"""Data module of classification: studies resized to one shape, cropped at random in training."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from functools import cached_property

from brainmvp_lightning.batches import LabelledDescription, Size
from brainmvp_lightning.datamodules.choosing import Places, StudyChoice, places_of
from brainmvp_lightning.datamodules.labelled import (
    VOLUME_CLIP,
    LabelledDataModule,
    LoadingOptions,
)
from brainmvp_lightning.datamodules.reading import NumWorkers, ReadingOptions
from brainmvp_lightning.datamodules.resizing import ResizedStudies, check_crop_fits
from brainmvp_lightning.volumes.cache import Clip
from brainmvp_lightning.volumes.index import StudyIndex, StudySelection


class ClassificationDataModule(LabelledDataModule):
    """Streams studies with a class, resized to one shape, with aligned modalities as channels.

    Args:
        cache: Folder that ``brainmvp prepare`` made, or its address, such as ``s3://bucket/cache``.
        classes: Names of the classes in the order of their ids; by default all that the training
            studies have, sorted. Studies of other classes are left out.
        modalities: Channels, in order; by default all that the training studies with a class have.
        datasets: Data sets to use; all by default.
        min_modalities: Studies with fewer of the modalities are left out; missing ones are 0.
        label_fraction: Share of the training patients that is used; a smaller share is part of any
            larger one, validation and test stay the same.
        label_seed: Another seed uses other patients.
        resized_to: Voxels that each study is resized to (paper: 128 x 128 x 64).
        crop_size: Voxels of a crop: random in training, the centre otherwise (paper: 96 x 96 x 64).
        batch_size: Studies in a batch of one process; the paper's 64 need gradient accumulation.
        num_workers: Processes that read ahead, for each training process; ``auto`` chooses by the
            cores, the device and the shared memory there are.
        visits_per_epoch: Visits to each training study in an epoch.
        clip: Percentiles at which each channel is clipped, then scaled to [0, 1] (paper: 5 and 95).
        local_cache: Folder for copies of what is read, if the cache is an address such as
            ``s3://bucket/cache``.
        local_cache_gb: Size of these copies together, in 10^9 bytes.
        prefetch_factor: Batches that each of these processes reads ahead; outside of training two
            at most.
        prefetch_to_device: Whether the next batch is copied to a GPU while a step runs.
        seed: Seed of order and crops; set by ``seed_everything``.

    Source:
        BrainMVP, supplement B.3.
    """

    def __init__(  # noqa: PLR0913 - what a user may set, each on its own line of YAML
        self,
        cache: str,
        classes: list[str] | None = None,
        modalities: list[str] | None = None,
        datasets: list[str] | None = None,
        min_modalities: int = 1,
        label_fraction: float = 1.0,
        label_seed: int = 0,
        resized_to: tuple[int, int, int] = (128, 128, 64),
        crop_size: tuple[int, int, int] = (96, 96, 64),
        batch_size: int = 4,
        num_workers: NumWorkers = "auto",
        visits_per_epoch: int = 1,
        clip: Clip = VOLUME_CLIP,
        local_cache: str | None = None,
        local_cache_gb: float = 50.0,
        prefetch_factor: int = 4,
        prefetch_to_device: bool = True,
        seed: int = 0,
    ) -> None:
        loading = LoadingOptions(
            crop_size=crop_size,
            clip=clip,
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
        check_crop_fits(crop_size, resized_to)
        self.classes = classes
        self.resized_to: Size = resized_to

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Classes in the order of their ids.

        Raises:
            ValueError: If there are fewer than two.
        """
        found = self._found_classes()
        names = found if self.classes is None else self.classes
        if len(set(names)) < 2 or len(set(names)) < len(names):
            raise ValueError(
                f"classification needs two or more different classes, got {names} (the training "
                f"studies of cache {self.cache_path} have: {', '.join(found) or 'none'}); set "
                "data.classes, or fill in the column 'class' of the table and prepare again"
            )
        return tuple(names)

    def _found_classes(self) -> list[str]:
        studies = self.cache.studies
        places = places_of(studies, self.choice)
        training = places[studies.column("split")[places] == "train"]
        found = studies.column("target_class")[training if len(training) else places]
        return sorted({*found.tolist()} - {""})

    @cached_property
    def class_weights(self) -> tuple[float, ...]:
        """Inverse frequency of each class among the training studies; 1 if all are as frequent.

        In a cache without training studies, such as one to test on, all are 1.

        Raises:
            ValueError: If no training study is left of a class.
        """
        splits = self.cache.studies.column("split")[places_of(self.cache.studies, self.choice)]
        if not (splits == "train").any():
            return (1.0,) * len(self.class_names)
        studies = self.studies("train")
        counts = Counter(studies.column("target_class").tolist())
        missing = [name for name in self.class_names if not counts[name]]
        if missing:
            raise ValueError(
                f"no training study of class {', '.join(missing)} is left (found: "
                f"{', '.join(self._found_classes())}); correct data.classes, raise "
                "data.label_fraction, change data.label_seed or lower data.min_modalities"
            )
        return tuple(
            len(studies) / (len(self.class_names) * counts[name]) for name in self.class_names
        )

    def setup(self, stage: str) -> None:
        """Open the cache and check that the split in use, or a class of it, is not empty."""
        super().setup(stage)
        if stage == "fit":
            self.describe()

    @property
    def num_outputs(self) -> int:
        """Channels that a network must put out."""
        return len(self.class_names)

    def describe(self) -> LabelledDescription:
        """Say what a task must know of the data."""
        return replace(
            super().describe(),
            num_outputs=self.num_outputs,
            class_names=self.class_names,
            class_weights=self.class_weights,
            resized_to=self.resized_to,
        )

    def faults(self, studies: StudyIndex, places: Places) -> list[str]:
        """Say what keeps studies from being classified."""
        classes = studies.column("target_class")[places].tolist()
        return [self._fault(name) for name in classes]

    def _fault(self, name: str) -> str:
        if not name:
            return "no class"
        if name not in self.class_names:
            return f"class {name!r}, which is none of {', '.join(self.class_names)}"
        return ""

    def dataset(self, studies: StudySelection, purpose: str) -> ResizedStudies:
        """Return what reads the studies."""
        return ResizedStudies(
            studies,
            self.reader(),
            self.resized_to,
            self.crop_size,
            class_ids=[self.class_names.index(n) for n in studies.column("target_class").tolist()],
            is_random=purpose == "train",
        )
