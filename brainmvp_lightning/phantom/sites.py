"""Scanning sites: grids, orientations, field strength, file format and small motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import nibabel as nib
import numpy as np

from brainmvp_lightning.phantom.deformation import rotation
from brainmvp_lightning.phantom.grids import Grid, Matrix
from brainmvp_lightning.phantom.sequences import T1Kind

FileFormat = Literal["integers", "scaled", "four_d", "uncompressed"]

# Middle of the field of view, MNI mm.
_ISOCENTRE_MM = (0.0, -18.0, 10.0)
# Motion between the series of a study, and for each of three rotations.
MAX_MOTION_MM = 0.5
MAX_MOTION_DEGREES = 0.5
# A tilt is mostly about the left-right axis, as when slices follow the skull base.
_TILT_SHARES = np.array([1.0, 0.4, 0.4])


@dataclass(frozen=True)
class SeriesGrid:
    """Geometry of a series as prescribed at the console.

    Args:
        shape: Voxels along the array axes at full resolution.
        spacing_mm: Distance of voxel centres along the array axes at full resolution.
        axes: Directions to which the array axes point, such as ``"LPS"``.
        max_tilt_degrees: Largest obliquity.
        offset_mm: Middle of the field of view from the isocentre, world axes.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    axes: str
    max_tilt_degrees: float = 0.0
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Site:
    """One source of studies.

    Args:
        name: Appears in ``participants.tsv``.
        field_tesla: 1.5 or 3.0.
        t1_kind: Sequence used for T1 weighting.
        grid: Geometry of all series but those in `special`.
        diagnoses: What is found in consecutive studies, in turn.
        special: Geometry of single modalities. PD shares that of T2, ADC that of DWI.
        is_stripped: Whether skull and scalp are removed.
        is_registered: Whether all series lie on one grid, without motion between them.
        file_format: How files are stored.
        old_share: Share of old people among the studies.
    """

    name: str
    field_tesla: float
    t1_kind: T1Kind
    grid: SeriesGrid
    diagnoses: tuple[str, ...]
    special: Mapping[str, SeriesGrid] = field(default_factory=dict)
    is_stripped: bool = False
    is_registered: bool = False
    file_format: FileFormat = "integers"
    old_share: float = 0.3


_ATLAS = SeriesGrid((240, 240, 155), (1.0, 1.0, 1.0), "LPS")
_DIFFUSION = SeriesGrid((112, 112, 73), (2.0, 2.0, 2.0), "LPS", 8.0)
_THICK = SeriesGrid((256, 256, 26), (0.9, 0.9, 6.0), "LPS", 15.0)
_THICK_DIFFUSION = SeriesGrid((128, 128, 26), (1.8, 1.8, 6.0), "LPS", 15.0)
_FINE = SeriesGrid((256, 256, 130), (0.9375, 0.9375, 1.25), "LPS", 4.0)
_ANGIOGRAPHY = SeriesGrid((320, 320, 100), (0.7, 0.7, 0.8), "LPS", 6.0, (0.0, 6.0, -12.0))

SITES = (
    # A challenge with processed data: one atlas grid, bare brains.
    Site("atlas", 3.0, "mprage", _ATLAS, ("HGG", "LGG"), is_stripped=True, is_registered=True),
    # Clinical routine: thick oblique slices, a sagittal T1, scaled integers.
    Site(
        "routine",
        1.5,
        "spin_echo",
        _THICK,
        ("stroke", "HGG", "healthy", "LGG"),
        {
            "t1": SeriesGrid((30, 256, 256), (6.0, 0.9, 0.9), "RIA", 8.0),
            "dwi": _THICK_DIFFUSION,
            "mra": SeriesGrid((256, 256, 120), (0.8, 0.8, 1.2), "LPS", 10.0),
        },
        file_format="scaled",
        old_share=0.5,
    ),
    # Volunteers: near-isotropic grids, each series tilted on its own, 4-D files of one volume.
    Site(
        "volunteers",
        1.5,
        "mprage",
        _FINE,
        ("healthy",),
        {
            "t1": SeriesGrid((150, 256, 256), (1.2, 0.9375, 0.9375), "RPS", 3.0),
            "dwi": _DIFFUSION,
            "mra": _ANGIOGRAPHY,
        },
        file_format="four_d",
    ),
    # A stroke unit: native grids, bare brains.
    Site(
        "stroke_unit",
        3.0,
        "mprage",
        SeriesGrid((176, 232, 192), (1.0, 1.0, 1.0), "RAS", 5.0),
        ("stroke",),
        {"dwi": _DIFFUSION, "mra": _ANGIOGRAPHY},
        is_stripped=True,
        old_share=0.7,
    ),
    # A clinic for the inner ear: one slightly tilted grid for all series.
    Site(
        "skull_base",
        1.5,
        "gradient_echo",
        SeriesGrid((256, 256, 120), (0.8, 0.8, 1.5), "LPS", 4.0),
        ("schwannoma", "schwannoma", "healthy"),
        is_registered=True,
    ),
    # A memory clinic: coronal arrays, uncompressed files.
    Site(
        "memory_clinic",
        3.0,
        "mprage",
        SeriesGrid((176, 240, 256), (1.0, 1.0, 1.0), "RAS", 4.0),
        ("healthy",),
        {"t2": SeriesGrid((240, 224, 72), (0.9, 0.9, 3.0), "RSP", 6.0), "dwi": _DIFFUSION},
        file_format="uncompressed",
        old_share=0.7,
    ),
)


@dataclass(frozen=True, eq=False)
class Placement:
    """Grid of one series and the head's motion since the reference pose.

    Args:
        grid: Where voxels are, as the file's header tells.
        motion: 4x4 matrix from the header's millimetres to those of the body.
    """

    grid: Grid
    motion: Matrix


def place_series(
    site: Site, modalities: tuple[str, ...], spacing_mm: float, rng: np.random.Generator
) -> dict[str, Placement]:
    """Draw tilt and motion of every series.

    Args:
        site: Where the study is made.
        modalities: Series of the study.
        spacing_mm: Resolution of the cohort; 1 gives the full grids of `SITES`.
        rng: Source of randomness.
    """
    placements: dict[str, Placement] = {}
    drawn: dict[str, Placement] = {}
    for modality in modalities:
        partner = {"pd": "t2", "adc": "dwi"}.get(modality, modality)
        key = "all" if site.is_registered else partner
        if key not in drawn:
            series = site.special.get(partner, site.grid)
            motion = np.eye(4) if site.is_registered else _draw_motion(rng)
            drawn[key] = Placement(_draw_grid(series, spacing_mm, rng), motion)
        placements[modality] = drawn[key]
    return placements


def _draw_grid(series: SeriesGrid, spacing_mm: float, rng: np.random.Generator) -> Grid:
    native = np.array(series.spacing_mm)
    # Coarser cohorts have coarser voxels, but thick slices become no thicker.
    spacing = np.maximum(native, spacing_mm * np.minimum(native, 1.0))
    shape = np.maximum(np.rint(np.array(series.shape) * native / spacing).astype(int), 8)
    matrix = np.zeros((3, 3))
    directions = nib.orientations.axcodes2ornt(tuple(series.axes))
    for axis, (world, sign) in enumerate(directions):
        matrix[int(world), axis] = sign * spacing[axis]
    matrix = rotation(series.max_tilt_degrees * _TILT_SHARES * rng.uniform(-1, 1, 3)) @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = np.add(_ISOCENTRE_MM, series.offset_mm) - matrix @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _draw_motion(rng: np.random.Generator) -> Matrix:
    motion = np.eye(4)
    motion[:3, :3] = rotation(rng.uniform(-1, 1, 3) * MAX_MOTION_DEGREES)
    motion[:3, 3] = rng.uniform(-1, 1, 3) * MAX_MOTION_MM
    return motion
