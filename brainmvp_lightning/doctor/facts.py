"""What looking at a scan or a study brings to light, without its voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.doctor.findings import Finding
from brainmvp_lightning.volumes.records import Matrix, Size

Point = tuple[float, float, float]
Corners = tuple[Point, Point]


@dataclass(frozen=True, slots=True)
class Look:
    """What the voxels of a scan say; intensities are real units of the foreground.

    Args:
        digest: Content, whatever the data type, the order of the axes or the compression.
        median: Of the foreground.
        low: 1st percentile.
        high: 99th percentile.
        share: Share of the volume that is foreground.
        box: Lower and upper corner, in world millimetres, of what prepare would keep.
        head: The same of where foreground is dense: noise in the air does not count.
        histogram: Foreground voxels in equal bins from `low` to `high`.
    """

    digest: str
    median: float
    low: float
    high: float
    share: float
    box: Corners
    head: Corners
    histogram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """A scan that can be used.

    Args:
        modality: Canonical name.
        path: The file.
        num_bytes: Length of the file.
        shape: Voxels along the axes of the file.
        affine: Voxel index to RAS+ millimetres.
        voxel_bytes: Bytes of a voxel in the file.
        look: None if only the header was read.
    """

    modality: str
    path: Path
    num_bytes: int
    shape: Size
    affine: Matrix
    voxel_bytes: int
    look: Look | None = None

    @property
    def spacing_mm(self) -> Point:
        """Edges of a voxel."""
        x, y, z = (sum(row[axis] ** 2 for row in self.affine[:3]) ** 0.5 for axis in range(3))
        return x, y, z


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """An annotation that can be read.

    Args:
        path: The file.
        values: Values above 0, ascending.
        digest: See `Look`.
    """

    path: Path
    values: tuple[int, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study, the scans of it that can be used, and what was found.

    Args:
        id: Unique name.
        dataset: Data set it belongs to.
        patient: Patient, unique within the data set.
        session: Visit; may be empty.
        split: ``train``, ``val`` or ``test``.
        target_class: Class, if any.
        label_scheme: What the values of the annotation mean, if it is known.
        scans: In the order of the vocabulary.
        label: The annotation, if it was read.
        reference: Modality whose field of view becomes the grid; empty without scans.
        grid_shape: Voxels of the grid that prepare would use.
        resampled: Modalities that need interpolation.
        findings: About this study.
    """

    id: str
    dataset: str
    patient: str
    session: str
    split: str
    target_class: str | None
    label_scheme: str | None
    scans: tuple[ScanFacts, ...]
    label: LabelFacts | None
    reference: str
    grid_shape: Size
    resampled: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the usable modalities."""
        return tuple(scan.modality for scan in self.scans)
