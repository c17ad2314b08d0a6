"""Studies resized to one shape, whatever their field of view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from brainmvp_lightning.batches import Size
from brainmvp_lightning.datamodules.channels import ChannelReader
from brainmvp_lightning.datamodules.samples import LabelledSample
from brainmvp_lightning.datamodules.sampling import SampleRequest, draw_visit
from brainmvp_lightning.inference.geometry import resize, study_geometry
from brainmvp_lightning.volumes.cache import CachedStudy


@dataclass(frozen=True, eq=False)
class ResizedStudies(Dataset[LabelledSample]):
    """Reads the stored box of a study, resized and cropped; a pure function of the request.

    Attributes:
        studies: Studies that requests count.
        reader: Reads the channels.
        resized_to: Voxels after resizing.
        size: Voxels of a crop.
        class_ids: Class of each study, ``n``; empty if they have none.
        is_random: Whether the place of a crop is drawn; otherwise it is the centre.
    """

    studies: Sequence[CachedStudy]
    reader: ChannelReader
    resized_to: Size
    size: Size
    class_ids: Sequence[int] = ()
    is_random: bool = False

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, request: SampleRequest) -> LabelledSample:
        study = self.studies[request.study]
        start = self._start(request)
        channels = self.reader.read(study, [(0, 0, 0)], study.shape)
        first = np.array([start], np.int64)
        return LabelledSample(
            study=study.id,
            image=_cut(resize(channels.image, self.resized_to), start, self.size),
            present=channels.present,
            label=None,
            target_class=self.class_ids[request.study] if self.class_ids else -1,
            start=first,
            origin=first - np.asarray(self.resized_to) // 2,
            keys=(request.key,),
            weight=request.weight if channels.is_usable else 0.0,
            num_studies=request.num_studies,
            faults=channels.faults,
            geometry=study_geometry(study, self.reader.modalities),
        )

    def _start(self, request: SampleRequest) -> Size:
        if self.is_random:
            return draw_visit(request, 1, self.resized_to, self.size).start
        x, y, z = ((n - k) // 2 for n, k in zip(self.resized_to, self.size, strict=True))
        return x, y, z


def _cut(image: NDArray[np.float32], start: Size, size: Size) -> NDArray[np.float32]:
    where = tuple(slice(first, first + edge) for first, edge in zip(start, size, strict=True))
    return np.ascontiguousarray(image[(slice(None), slice(None), *where)])


def check_crop_fits(crop_size: Size, resized_to: Size) -> None:
    """Check that a resized study holds a crop.

    Raises:
        ValueError: If it does not.
    """
    if any(edge > whole for edge, whole in zip(crop_size, resized_to, strict=True)):
        raise ValueError(f"data.crop_size {crop_size} must fit into data.resized_to {resized_to}")
