"""Samples of studies with aligned modalities, and the batches they form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainmvp_lightning.batches import LabelledBatch, StudyGeometry, VolumeBatch


@dataclass(frozen=True)
class LabelledSample:
    """Crops of one study.

    Attributes:
        study: Study id.
        image: ``n c x y z``.
        present: ``c``.
        label: ``n 1 x y z`` or ``n r x y z``; None if none was asked for.
        target_class: Index of the class; -1 if none.
        start: First voxel of each crop on its grid, ``n 3``.
        origin: The same from the reference point of the data, ``n 3``.
        keys: ``n``.
        weight: Of the whole visit.
        num_studies: Visits of the step that count.
        faults: One sentence for each file that could not be read.
        geometry: For whole volumes, the way back to the files.
    """

    study: str
    image: NDArray[np.float32]
    present: NDArray[np.bool_]
    label: NDArray[np.uint8] | None
    target_class: int
    start: NDArray[np.int64]
    origin: NDArray[np.int64]
    keys: tuple[int, ...]
    weight: float
    num_studies: int
    faults: tuple[str, ...]
    geometry: StudyGeometry | None = None


def collate_labelled(samples: Sequence[LabelledSample]) -> LabelledBatch:
    """Put crops into a batch; weights are divided by visits and by crops of a visit."""
    counts = [len(sample.image) for sample in samples]
    shares = [sample.weight / (len(samples) * len(sample.image)) for sample in samples]
    batch = LabelledBatch(
        image=_joined([sample.image for sample in samples]),
        present=torch.from_numpy(np.repeat([s.present for s in samples], counts, axis=0)),
        target_class=torch.tensor(_repeated([s.target_class for s in samples], counts)),
        start=_joined([sample.start for sample in samples]),
        origin=_joined([sample.origin for sample in samples]),
        key=torch.tensor([key for sample in samples for key in sample.keys]),
        weight=torch.tensor(_repeated(shares, counts), dtype=torch.float32),
        num_studies=samples[0].num_studies,
        study=_repeated([sample.study for sample in samples], counts),
        faults=[fault for sample in samples for fault in sample.faults],
    )
    labels = [sample.label for sample in samples if sample.label is not None]
    if labels:
        batch["label"] = _joined(labels)
    return batch


def collate_volumes(samples: Sequence[LabelledSample]) -> VolumeBatch:
    """Put whole volumes of one shape into a batch, with their geometry."""
    geometry = [sample.geometry for sample in samples if sample.geometry is not None]
    return VolumeBatch(**collate_labelled(samples), geometry=geometry)


def _joined(arrays: Sequence[NDArray[Any]]) -> torch.Tensor:
    # A lone array is handed on as it is: whole volumes are large.
    return torch.from_numpy(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))


def _repeated(values: Sequence[Any], counts: Sequence[int]) -> list[Any]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
