"""Whole studies with their geometry: for validation, test and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from brainmvp_lightning.batches import LabelledDescription, Size
from brainmvp_lightning.datamodules.channels import ChannelReader, LabelReader
from brainmvp_lightning.datamodules.choosing import Places, StudyChoice
from brainmvp_lightning.datamodules.labelled import (
    VOLUME_CLIP,
    LabelledDataModule,
    LoadingOptions,
    PredictionBatches,
)
from brainmvp_lightning.datamodules.reading import NumWorkers, ReadingOptions
from brainmvp_lightning.datamodules.resizing import ResizedStudies, check_crop_fits
from brainmvp_lightning.datamodules.samples import LabelledSample
from brainmvp_lightning.datamodules.sampling import SampleRequest
from brainmvp_lightning.inference.geometry import padded_box, study_geometry
from brainmvp_lightning.volumes.cache import CachedStudy, Clip
from brainmvp_lightning.volumes.index import StudyIndex, StudySelection


@dataclass(frozen=True, eq=False)
class WholeStudies(Dataset[LabelledSample]):
    """Reads the stored box of a study, padded evenly to at least a crop.

    Attributes:
        studies: Studies that requests count.
        reader: Reads the channels.
        labels: Reads the annotation; None for none.
        reference: Voxel of each study that origins are counted from, ``n 3``.
        least: Voxels that a volume has at least.
    """

    studies: Sequence[CachedStudy]
    reader: ChannelReader
    labels: LabelReader | None
    reference: NDArray[np.int64]
    least: Size

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, request: SampleRequest) -> LabelledSample:
        study = self.studies[request.study]
        start, size = padded_box(study.shape, self.least)
        channels = self.reader.read(study, [start], size)
        label, fault = self.labels.read(study, [start], size) if self.labels else (None, "")
        first = np.array([start], np.int64)
        return LabelledSample(
            study=study.id,
            image=channels.image,
            present=channels.present,
            label=label,
            target_class=-1,
            start=first,
            origin=first - self.reference[request.study],
            keys=(request.key,),
            weight=request.weight if channels.is_usable and not fault else 0.0,
            num_studies=request.num_studies,
            faults=(*channels.faults, *([fault] if fault else [])),
            geometry=study_geometry(study, self.reader.modalities),
        )


class WholeVolumeDataModule(LabelledDataModule):
    """Streams whole studies to predict on; annotations and classes are not read.

    Args:
        cache: Folder that ``brainmvp prepare`` made, or its address, such as ``s3://bucket/cache``.
        modalities: Channels, in the order the network was trained with; by default all that the
            training studies of the cache have.
        split: Studies to predict: ``train``, ``val``, ``test`` or ``all``.
        datasets: Data sets to use; all by default.
        min_modalities: Studies with fewer of the modalities are left out.
        crop_size: Volumes are padded to at least these voxels.
        resized_to: For a network that classifies: voxels that each study is resized to before
            its centre of ``crop_size`` is cut out (paper: 128 x 128 x 64).
        num_workers: Processes that read ahead, for each process; ``auto`` chooses by the
            cores, the device and the shared memory there are.
        clip: Percentiles at which each channel is clipped, then scaled to [0, 1]; the same as in
            training (paper: 5 and 95).
        placement: Where a volume lies in template space: ``"centre"`` or ``"world"``.
        local_cache: Folder for copies of what is read, if the cache is an address such as
            ``s3://bucket/cache``.
        local_cache_gb: Size of these copies together, in 10^9 bytes.
        seed: Seed of the keys of samples; set by ``seed_everything``.

    Source:
        BrainMVP, supplement B.2.
    """

    def __init__(  # noqa: PLR0913 - what a user may set, each on its own line of YAML
        self,
        cache: str,
        modalities: list[str] | None = None,
        split: Literal["train", "val", "test", "all"] = "test",
        datasets: list[str] | None = None,
        min_modalities: int = 1,
        crop_size: tuple[int, int, int] = (96, 96, 96),
        resized_to: tuple[int, int, int] | None = None,
        num_workers: NumWorkers = "auto",
        clip: Clip = VOLUME_CLIP,
        placement: Literal["centre", "world"] = "centre",
        local_cache: str | None = None,
        local_cache_gb: float = 50.0,
        seed: int = 0,
    ) -> None:
        loading = LoadingOptions(
            crop_size=crop_size,
            clip=clip,
            placement=placement,
            reading=ReadingOptions(num_workers),
            seed=seed,
            local_cache=local_cache,
            local_cache_gb=local_cache_gb,
        )
        choice = StudyChoice(datasets, modalities, min_modalities)
        super().__init__(cache, choice, loading)
        self.save_hyperparameters(ignore=["clip"])
        self.save_hyperparameters({"clip": asdict(clip)})
        if resized_to is not None:
            check_crop_fits(crop_size, resized_to)
        self.split = split
        self.resized_to: Size | None = resized_to

    def describe(self) -> LabelledDescription:
        """Say what a task must know of the data."""
        return replace(super().describe(), resized_to=self.resized_to)

    def faults(self, studies: StudyIndex, places: Places) -> list[str]:
        """Every study can take part."""
        del studies
        return [""] * len(places)

    def setup(self, stage: str) -> None:
        """Open the cache and check that the split is not empty.

        Raises:
            ValueError: If the stage is not prediction, or no study is left.
        """
        if stage != "predict":
            raise ValueError(
                "WholeVolumeDataModule holds no annotations, so it serves 'brainmvp predict' only; "
                "use SegmentationDataModule or ClassificationDataModule"
            )
        self.studies(self.split)

    def predict_dataloader(self) -> PredictionBatches:
        """Return the batches of the chosen split, one study each."""
        return PredictionBatches(self.loader(self.split, "predict", self.evaluation))

    def dataset(self, studies: StudySelection, purpose: str) -> Dataset[LabelledSample]:
        """Return what reads the studies."""
        del purpose
        if self.resized_to is not None:
            return ResizedStudies(studies, self.reader(), self.resized_to, self.crop_size)
        reference = self.reference_voxels(studies)
        return WholeStudies(studies, self.reader(), None, reference, self.crop_size)
