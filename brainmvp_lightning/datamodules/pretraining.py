"""Data module of pre-training: studies of any grouping, one modality at a time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import numpy as np

from brainmvp_lightning.batches import DataDescription, Size
from brainmvp_lightning.datamodules.base import StudyDataModule
from brainmvp_lightning.datamodules.datasets import CropOptions, StudyCrops
from brainmvp_lightning.datamodules.loading import CountedLoader
from brainmvp_lightning.datamodules.progress import TrainerProgress
from brainmvp_lightning.datamodules.sampling import StudySampler
from brainmvp_lightning.methods.base import DataNeeds
from brainmvp_lightning.volumes.cache import Cache, CachedStudy, Clip


class PretrainDataModule(StudyDataModule):
    """Streams crops of target and partner modality at one place from a cache.

    Args:
        cache: Folder that ``brainmvp prepare`` made.
        crop_size: Voxels of a crop (paper: 96 x 96 x 96).
        batch_size: Studies in a batch of one process (paper: 3 on each of 8 GPUs).
        num_workers: Processes that read ahead, for each training process.
        visits_per_epoch: Visits to each study in an epoch.
        clip: Percentiles at which intensities are clipped, then scaled to [0, 1]; over the
            foreground or over the whole stored volume (published code: 5 and 95 over the volume).
        placement: Where a crop lies in template space: ``"centre"`` puts the centre of each study
            on the centre of the templates (published code), ``"world"`` trusts the affines, for
            studies registered to one space.
        modalities_per_step: ``1`` draws one target a visit, ``all`` takes each modality of the
            study (equation 6).
        min_modalities: Studies with fewer modalities are left out.
        shared_modality: Draw the number of the target scan once for all samples of a step
            (published code).
        series_per_study: Force each study to this many scans by leaving out or repeating
            (published code).
        seed: Seed of order, crops and masks; set by ``seed_everything``.

    Source:
        BrainMVP, supplement B.1.
    """

    def __init__(  # noqa: PLR0913 - what a user may set, each on its own line of YAML
        self,
        cache: str,
        crop_size: tuple[int, int, int] = (96, 96, 96),
        batch_size: int = 3,
        num_workers: int = 2,
        visits_per_epoch: int = 1,
        clip: Clip = Clip(),  # noqa: B008 - frozen
        placement: Literal["centre", "world"] = "centre",
        modalities_per_step: Literal["1", "all"] | int = "1",
        min_modalities: int = 1,
        shared_modality: bool = False,
        series_per_study: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if str(modalities_per_step) not in ("1", "all"):
            raise ValueError(f"modalities_per_step must be 1 or all, got {modalities_per_step!r}")
        self.cache_path = Path(cache)
        self.crop_size: Size = crop_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.visits_per_epoch = visits_per_epoch
        self.clip = clip
        self.placement = placement
        self.modalities_per_step: Literal["1", "all"] = (
            "all" if str(modalities_per_step) == "all" else "1"
        )
        self.min_modalities = min_modalities
        self.shared_modality = shared_modality
        self.series_per_study = series_per_study
        self.seed = seed
        self.needs = DataNeeds()
        self._cache: Cache | None = None

    @property
    def cache(self) -> Cache:
        """The opened cache.

        Raises:
            FileNotFoundError: If there is none at the path.
            CacheError: If it cannot be read.
        """
        if self._cache is None:
            self._cache = Cache.open(self.cache_path)
        return self._cache

    def describe(self) -> DataDescription:
        """Say what a method must know of the data."""
        centre = np.mean([_centre_mm(study) for study in self.cache.studies], axis=0)
        return DataDescription(
            modalities=tuple(self.cache.modalities),
            spacing_mm=(self.cache.spacing_mm,) * 3,
            centre_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
            crop_size=self.crop_size,
        )

    def studies(self, split: str) -> list[CachedStudy]:
        """Return the studies of `split` that have enough modalities.

        Raises:
            ValueError: If none is left.
        """
        needed = max(self.min_modalities, self.needs.min_modalities)
        members = [study for study in self.cache.studies if study.split == split]
        usable = [study for study in members if len(study.scans) >= needed]
        if not usable:
            raise ValueError(
                f"cache {self.cache_path} has {len(members)} {split} studies, none with at least "
                f"{needed} modalities; prepare more data, lower data.min_modalities, or keep the "
                "distillation term, which needs one modality only"
            )
        if len(usable) < len(members):
            left = len(members) - len(usable)
            warnings.warn(
                f"{left} of {len(members)} {split} studies have fewer than {needed} modalities and "
                "are left out",
                stacklevel=2,
            )
        return usable

    def setup(self, stage: str) -> None:
        """Open the cache and check that the splits in use are not empty."""
        if self.trainer is not None and isinstance(
            self.trainer.lightning_module, pl.LightningModule
        ):
            self.needs = getattr(self.trainer.lightning_module, "needs", self.needs)
        self.studies("train" if stage == "fit" else "val")

    def train_dataloader(self) -> CountedLoader:
        """Return the loader of the training studies."""
        return self._loader("train", "train", self.visits_per_epoch)

    def val_dataloader(self) -> CountedLoader:
        """Return the loader of the validation studies, with the same crops each time."""
        return self._loader("val", "val", self.visits_per_epoch)

    def _loader(self, split: str, purpose: str, visits: int) -> CountedLoader:
        studies = self.studies(split)
        sampler = StudySampler(
            len(studies),
            batch_size=self.batch_size,
            seed=self.seed,
            visits=visits,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            purpose=purpose,
        )
        dataset = StudyCrops(
            self.cache, studies, self._reference_voxels(studies), self._crop_options()
        )
        return CountedLoader(
            dataset,
            sampler,
            TrainerProgress(self),
            num_workers=self.num_workers,
            pin_memory=self._on_gpu(),
        )

    def _crop_options(self) -> CropOptions:
        return CropOptions(
            size=self.crop_size,
            clip=self.clip,
            modalities_per_step=self.modalities_per_step,
            with_partner=self.needs.needs_partner,
            shared_modality=self.shared_modality,
            series_per_study=self.series_per_study,
        )

    def _reference_voxels(self, studies: list[CachedStudy]) -> np.ndarray:
        if self.placement == "centre":
            return np.array([np.asarray(study.shape) // 2 for study in studies])
        centre = np.append(self.describe().centre_mm, 1.0)
        inverse = [np.linalg.inv(np.asarray(study.affine)) for study in studies]
        return np.rint([(matrix @ centre)[:3] for matrix in inverse]).astype(np.int64)

    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


def _centre_mm(study: CachedStudy) -> np.ndarray:
    voxel = np.append(np.asarray(study.shape) // 2, 1.0)
    centre: np.ndarray = (np.asarray(study.affine) @ voxel)[:3]
    return centre
