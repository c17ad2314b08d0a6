"""Data module of pre-training: studies of any grouping, one modality at a time."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np

from brainmvp_lightning.batches import DataDescription, Size
from brainmvp_lightning.datamodules.balance import (
    check_modalities,
    count_modalities,
    modality_weights,
)
from brainmvp_lightning.datamodules.base import StudyDataModule
from brainmvp_lightning.datamodules.datasets import CropOptions, StudyCrops
from brainmvp_lightning.datamodules.geometry import Placement, centre_mm, reference_voxels
from brainmvp_lightning.datamodules.loading import CountedLoader
from brainmvp_lightning.datamodules.ordering import DatasetShares, dataset_shares
from brainmvp_lightning.datamodules.packing import PackedBatch
from brainmvp_lightning.datamodules.placing import CropCentre, check_centre
from brainmvp_lightning.datamodules.reading import NumWorkers, ReadingOptions
from brainmvp_lightning.datamodules.sampling import StudySampler
from brainmvp_lightning.datamodules.sharing import BYTES
from brainmvp_lightning.methods.base import DataNeeds
from brainmvp_lightning.volumes.cache import Cache, Clip
from brainmvp_lightning.volumes.index import StudySelection


class PretrainDataModule(StudyDataModule):
    """Streams crops of target and partner modality at one place from a cache.

    Args:
        cache: Folder that ``brainmvp prepare`` made, or its address, such as ``s3://bucket/cache``.
        crop_size: Voxels of a crop (paper: 96 x 96 x 96).
        batch_size: Studies in a batch of one process (paper: 3 on each of 8 GPUs).
        num_workers: Processes that read ahead, for each training process; ``auto`` chooses by the
            cores, the device and the shared memory there are.
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
        crop_centre: ``"box"``: crops lie anywhere in the stored box; ``"foreground"``: centred on
            the head; a number: on the head with this probability, else beside it (paper: 0.5).
        modalities: Modalities that may be used, as targets and partners; None for all.
        dataset_weights: How often studies of a data set are visited, relative to what
            `dataset_temperature` gives; 1 for those not named, 0 leaves a data set out.
        dataset_temperature: Visits go to data sets in proportion to ``studies ** (1 / t)``: 1
            visits each study equally often (equation 6), ``.inf`` each data set.
        modality_balance: The target is drawn in proportion to ``scans ** -balance`` of its
            modality: 0 draws evenly from a study (equation 6), 1 favours rare modalities.
        crops_per_visit: Crops of the same scans at each visit. They share the weight of the study;
            a batch has ``batch_size`` times as many rows.
        local_cache: Folder for copies of what is read, if the cache is an address such as
            ``s3://bucket/cache``.
        local_cache_gb: Size of the copied volumes together, in 10^9 bytes; lists of studies come on
            top.
        prefetch_factor: Batches that each of these processes reads ahead.
        prefetch_to_device: Whether the next batch is copied to a GPU while a step runs.
        seed: Seed of order, crops and masks; set by ``seed_everything``.

    Source:
        BrainMVP, supplement B.1.
    """

    def __init__(  # noqa: PLR0913, PLR0915 - what a user may set, each on its own line of YAML
        self,
        cache: str,
        crop_size: tuple[int, int, int] = (96, 96, 96),
        batch_size: int = 3,
        num_workers: NumWorkers = "auto",
        visits_per_epoch: int = 1,
        clip: Clip = Clip(),  # noqa: B008 - frozen
        placement: Placement = "centre",
        modalities_per_step: Literal["1", "all"] | int = "1",
        min_modalities: int = 1,
        shared_modality: bool = False,
        series_per_study: int | None = None,
        crop_centre: Literal["box", "foreground"] | float = "box",
        crops_per_visit: int = 1,
        modalities: list[str] | None = None,
        dataset_weights: dict[str, float] | None = None,
        dataset_temperature: float = 1.0,
        modality_balance: float = 0.0,
        local_cache: str | None = None,
        local_cache_gb: float = 50.0,
        prefetch_factor: int = 4,
        prefetch_to_device: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if str(modalities_per_step) not in ("1", "all"):
            raise ValueError(f"modalities_per_step must be 1 or all, got {modalities_per_step!r}")
        check_centre(crop_centre)
        if crops_per_visit < 1:
            raise ValueError(f"crops_per_visit must be at least 1, got {crops_per_visit}")
        if modality_balance and str(modalities_per_step) == "all":
            raise ValueError(
                "modality_balance draws one target a visit, but modalities_per_step is all; "
                "set one of them back"
            )
        self.cache_path = cache
        self.crop_size: Size = crop_size
        self.batch_size = batch_size
        self.reading_options = ReadingOptions(num_workers, prefetch_factor, prefetch_to_device)
        self.visits_per_epoch = visits_per_epoch
        self.clip = clip
        self.placement = placement
        self.modalities_per_step: Literal["1", "all"] = (
            "all" if str(modalities_per_step) == "all" else "1"
        )
        self.min_modalities = min_modalities
        self.shared_modality = shared_modality
        self.series_per_study = series_per_study
        self.crop_centre: CropCentre = crop_centre
        self.crops_per_visit = crops_per_visit
        self.modalities = modalities
        self.dataset_weights = dataset_weights
        self.dataset_temperature = dataset_temperature
        self.modality_balance = modality_balance
        self.local_cache = local_cache
        self.local_cache_gb = local_cache_gb
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
            self._cache = Cache.open(
                self.cache_path, local_cache=self.local_cache, local_cache_gb=self.local_cache_gb
            )
        return self._cache

    def describe(self) -> DataDescription:
        """Say what a method must know of the data."""
        return DataDescription(
            modalities=tuple(self.cache.modalities),
            spacing_mm=(self.cache.spacing_mm,) * 3,
            centre_mm=centre_mm(self.cache.studies),
            crop_size=self.crop_size,
            placement=self.placement,
            targets_per_step=self._targets_per_step(),
        )

    def _targets_per_step(self) -> int:
        takes_all = self.modalities_per_step == "all"
        per_crop = len(self._used_modalities()) if takes_all else 1
        return self.batch_size * self.crops_per_visit * per_crop

    def studies(self, split: str) -> StudySelection:
        """Return the studies of `split` that have enough modalities.

        Raises:
            ValueError: If none is left.
        """
        needed = max(self.min_modalities, self.needs.min_modalities)
        studies = self.cache.studies
        members = np.flatnonzero(studies.column("split") == split)
        usable = members[count_modalities(studies, self._used_modalities())[members] >= needed]
        if not len(members):
            raise ValueError(
                f"cache {self.cache_path} has no {split} studies; prepare it with other splits"
                + (", or set trainer.limit_val_batches to 0" if split == "val" else "")
            )
        if not len(usable):
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
        selection = StudySelection(studies, usable)
        if split == "train":
            self._shares(selection)  # a misspelt data set ends the call before any work
        return selection

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
        is_training = purpose == "train"
        sampler = StudySampler(
            len(studies),
            batch_size=self.batch_size,
            seed=self.seed,
            visits=visits,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            purpose=purpose,
            shares=self._shares(studies) if is_training else None,
        )
        if is_training and self.trainer is not None:
            self.journey.lead(sampler, self.trainer.accumulate_grad_batches)
        centre = centre_mm(self.cache.studies)
        options = self._crop_options(studies, is_training=is_training)
        dataset = StudyCrops(
            self.cache, studies, reference_voxels(studies, self.placement, centre), options
        )
        plan = options.plan(self.batch_size, 0, len(self.cache.modalities))
        batch_bytes = plan.max_crops * math.prod(plan.size) * BYTES
        reading = self.reading(self.reading_options, sampler, batch_bytes, to_device=True)
        return CountedLoader(dataset, sampler, reading)

    def _used_modalities(self) -> tuple[str, ...]:
        return check_modalities(self.modalities, self.cache.modalities)

    def _shares(self, studies: StudySelection) -> DatasetShares | None:
        datasets = studies.column("dataset").tolist()
        return dataset_shares(datasets, self.dataset_temperature, self.dataset_weights)

    def _crop_options(self, studies: StudySelection, *, is_training: bool) -> CropOptions:
        balance = self.modality_balance if is_training else 0.0
        weights = None
        if balance or self.modalities is not None:
            weights = modality_weights(studies, self._used_modalities(), balance)
        return CropOptions(
            size=self.crop_size,
            clip=self.clip,
            modalities_per_step=self.modalities_per_step,
            with_partner=self.needs.needs_partner,
            shared_modality=self.shared_modality,
            series_per_study=self.series_per_study,
            crop_centre=self.crop_centre,
            crops_per_visit=self.crops_per_visit,
            modality_weights=weights,
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ANN401
        """Turn the integers that were transferred into intensities, on their device."""
        del dataloader_idx
        if not isinstance(batch, PackedBatch):
            return batch
        trainer = self.trainer
        unpacked = batch.unpack()
        # Lightning converts batches to the precision of the run before they are transferred.
        return unpacked if trainer is None else trainer.precision_plugin.convert_input(unpacked)
