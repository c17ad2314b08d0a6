"""Types that cross from data modules to tasks and methods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NotRequired, TypedDict

from torch import Tensor

Size = tuple[int, int, int]
Matrix = list[list[float]]
"""A 4 x 4 transform as plain numbers, which no device or precision changes."""


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
    capacity: NotRequired[int]
    """Most targets that a batch of this step can have, the same on all ranks, so that they can
    exchange rows without agreeing on their number first. Absent from batches made by hand."""
    study: list[str]
    """Study id of each target, ``b``."""
    faults: list[str]
    """One sentence for each scan that could not be read and was set aside."""


class LabelledBatch(TypedDict):
    """Crops of studies whose modalities are the channels; ``b`` crops.

    A row whose annotation cannot be read, or without any readable scan, has weight 0.
    """

    image: Tensor
    """Aligned modalities, ``b c x y z``, float32 in [0, 1], in the order of
    `DataDescription.modalities`; a missing one is 0."""
    present: Tensor
    """Which modalities are there, ``b c``, bool; at least one in each row. In a row without any
    readable scan, which has weight 0, it is the first one the study should have."""
    label: NotRequired[Tensor]
    """Annotation, uint8: classes 0 to ``num_outputs - 1``, ``b 1 x y z``, or one channel of 0 and 1
    for each region, ``b r x y z`` (`LabelledDescription.overlapping`). Absent if none was asked
    for."""
    target_class: Tensor
    """Class of each study, ``b``, int64 index into `LabelledDescription.class_names`; -1: none."""
    start: Tensor
    """First voxel of each crop on the grid it was cut from (the stored box of the study, or what it
    was resized to), ``b 3``, int64; negative where the crop is larger."""
    origin: Tensor
    """The same voxel, counted from the reference point of the data as in `StudyBatch`."""
    key: Tensor
    """Key of the counted randomness of each crop, ``b``, int64."""
    weight: Tensor
    """Share of each crop in the loss, ``b``, float32, as in `StudyBatch`."""
    num_studies: int
    """Studies of this step that count, over all ranks; the weight of the step in a mean."""
    study: list[str]
    """Study id of each crop, ``b``."""
    faults: list[str]
    """One sentence for each scan or annotation that could not be read and was set aside."""


class FileGeometry(TypedDict):
    """Where the voxels of a file lie."""

    modality: str
    """Canonical name, or ``label``."""
    path: str
    """The file, absolute or relative to the folder of the cache."""
    affine: Matrix
    """Voxel index of the file to its world millimetres, RAS+."""
    shape: list[int]
    axcodes: str
    """Directions of the file's axes, such as ``LPS``."""
    to_study: Matrix
    """World millimetres of the file to those of the study; the identity unless registered."""


class StudyGeometry(TypedDict):
    """The way from a whole volume back to the files it came from."""

    affine: Matrix
    """Voxel index of the stored box to world millimetres of the study, RAS+."""
    shape: list[int]
    """Voxels of the stored box."""
    box_start: list[int]
    """First voxel of the box in the full grid of the study."""
    full_shape: list[int]
    """Voxels of the full grid."""
    scans: list[FileGeometry]
    """The modalities of the batch that the study has, in their order."""
    label: FileGeometry | None


class VolumeBatch(LabelledBatch):
    """Whole studies, padded to at least a crop, one in a batch; or resized ones of one shape.

    At the uneven end of the ranks a study is repeated with weight 0.
    """

    geometry: list[StudyGeometry]
    """``b``. Voxel ``v`` of an image that was not resized is voxel ``v + start`` of the stored
    box."""


@dataclass(frozen=True)
class DataDescription:
    """What a method must know of the data before the first batch."""

    modalities: tuple[str, ...]
    """Vocabulary that modality indices in a batch refer to."""
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float]
    """World coordinates (RAS) of the reference point that crop origins are counted from."""
    crop_size: Size
    placement: Literal["centre", "world"] = "centre"
    """Whether crop origins count from the centre of each study, or from `centre_mm`."""
    targets_per_step: int = 0
    """Most targets of a batch on one process; 0 if that is not known."""


@dataclass(frozen=True)
class LabelledDescription(DataDescription):
    """What a fine-tuning task must know of the data before the first batch."""

    num_outputs: int = 0
    """Channels that a network must put out: classes, or regions if these overlap; 0 if nothing is
    to be learned."""
    region_names: tuple[str, ...] = ()
    """What is segmented and scored, in order."""
    overlapping: bool = False
    """Whether the annotation is one channel for each region, not one class for each voxel."""
    label_names: tuple[str, ...] = ()
    """Structures behind the values 0, 1, ... of an annotation of classes; 0 is the background."""
    label_regions: tuple[tuple[str, ...], ...] = ()
    """For each of these values the regions it belongs to."""
    label_values: tuple[int, ...] = ()
    """Value of each of these structures in the files; empty if the data sets do not agree."""
    class_names: tuple[str, ...] = ()
    """What studies are classified into; a target class is an index into it."""
    class_weights: tuple[float, ...] = ()
    """Inverse frequency of each class in training; 1 for each if all are equally frequent."""
    resized_to: Size | None = None
    """Voxels that each study is resized to before crops are cut; None keeps `spacing_mm`."""
    clip: Mapping[str, Any] = field(default_factory=dict)
    """Percentiles at which each channel is clipped before it is scaled to [0, 1]."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How the studies were prepared, as the cache records it."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> LabelledDescription:
        """Return the description behind plain values.

        Raises:
            ValueError: If they are none, such as those of a later version.
        """
        known = {field.name for field in fields(cls)}
        if not plain.keys() <= known:
            later = ", ".join(sorted(plain.keys() - known))
            raise ValueError(
                f"the description of the data has unknown entries ({later}); update "
                "brainmvp-lightning, or write the file again"
            )
        return cls(**{name: _frozen(value) for name, value in plain.items()})


@dataclass(frozen=True)
class StepInfo:
    """Where in the training a step is."""

    step: int
    max_steps: int
    epoch: int
    max_epochs: int
    is_training: bool


def _frozen(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
