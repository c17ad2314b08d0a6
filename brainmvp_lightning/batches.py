"""Types that cross from data modules to tasks and methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor

Size = tuple[int, int, int]


class StudyBatch(TypedDict):
    """Crops of single-modality scans; ``b`` targets of which ``p`` have a partner.

    A partner is a crop of another modality of the same study at the same place. A study with one
    modality has none, hence ``p <= b``.
    """

    image: Tensor
    """Target crops, ``b 1 x y z``, float32 in [0, 1]."""
    modality: Tensor
    """Modality of each target, ``b``, int64 index into `DataDescription.modalities`."""
    partner: Tensor
    """Partner crops, ``p 1 x y z``, float32 in [0, 1]."""
    partner_rows: Tensor
    """Row of `image` that each partner belongs to, ``p``, int64, ascending."""
    partner_modality: Tensor
    """Modality of each partner, ``p``, int64."""
    origin: Tensor
    """First voxel of each crop, ``b 3``, int64, in voxels from the reference point of the data."""
    key: Tensor
    """Key of the counted randomness of each target, ``b``, int64."""
    weight: Tensor
    """Share of each target in the loss, ``b``, float32. Sums to 1 over a full batch; rows that
    only pad the uneven end of an epoch have weight 0, and the sum makes up for them, so that the
    mean over ranks is the mean over studies (equation 6)."""
    num_studies: int
    """Studies of this step that count, over all ranks; the weight of the step in a mean."""
    study: list[str]
    """Study id of each target, ``b``."""
    faults: list[str]
    """One sentence for each scan that could not be read and was set aside."""


@dataclass(frozen=True)
class DataDescription:
    """What a method must know of the data before the first batch."""

    modalities: tuple[str, ...]
    """Vocabulary that modality indices in a batch refer to."""
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float]
    """World coordinates (RAS) of the reference point that crop origins are counted from."""
    crop_size: Size


@dataclass(frozen=True)
class StepInfo:
    """Where in the training a step is."""

    step: int
    max_steps: int
    epoch: int
    max_epochs: int
    is_training: bool
