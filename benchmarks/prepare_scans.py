"""Studies for the benchmark of prepare: the demo cohort's anatomy on the grids of public data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from brainmvp_lightning.phantom.anatomy import EXTRAS, Anatomy, build_anatomy
from brainmvp_lightning.phantom.contrasts import WHITE_LEVEL, class_signals
from brainmvp_lightning.phantom.deformation import rotation
from brainmvp_lightning.phantom.grids import Floats, Grid, resample
from brainmvp_lightning.phantom.sequences import draw_protocols
from brainmvp_lightning.phantom.tissues import ANATOMY, typical_tissues
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.nifti import write_nifti

ANATOMY_MM = 1.5  # finer costs more time than the benchmark itself
NOISE = np.float32(1 / 30)  # of white matter
CENTRE_MM = (0.0, -18.0, 10.0)


@dataclass(frozen=True)
class Case:
    """A kind of study.

    Args:
        name: In the table.
        modalities: Its scans.
        shape: Voxels along the axes of the files.
        spacing_mm: Their edges.
        axes: Where the axes point, such as ``LPS``.
        is_stripped: Bare brains.
        tilts_degrees: Rotation about x, y, z of each scan.
        offsets_mm: Of each scan from the first.
    """

    name: str
    modalities: tuple[str, ...]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    axes: str
    is_stripped: bool = False
    tilts_degrees: Sequence[tuple[float, float, float]] = ((0, 0, 0),) * 4
    offsets_mm: Sequence[tuple[float, float, float]] = ((0, 0, 0),) * 4


_FINE = ((256, 256, 150), (0.9375, 0.9375, 1.2), "PSR")
CASES = (
    Case(
        "like BraTS: 1 mm, bare brains",
        ("t1", "t1ce", "t2", "flair"),
        (240, 240, 155),
        (1.0, 1.0, 1.0),
        "LPS",
        is_stripped=True,
    ),
    Case(
        "like IXI: .94 x .94 x 1.2 mm, heads",
        ("t1", "t2"),
        *_FINE,
        offsets_mm=((0, 0, 0), (0.3, -0.4, 0.2)),
    ),
    Case("the same, tilted", ("t1", "t2"), *_FINE, tilts_degrees=((3, 1, 1), (2, -1, 1))),
)


def write_studies(folder: Path) -> dict[Case, Study]:
    """Write one study of each case; the same files every time."""
    anatomy = build_anatomy(ANATOMY_MM)
    return {case: _write_study(case, anatomy, folder / str(n)) for n, case in enumerate(CASES)}


def _write_study(case: Case, anatomy: Anatomy, folder: Path) -> Study:
    folder.mkdir()
    scans = []
    for number, modality in enumerate(case.modalities):
        grid = Grid(case.shape, _affine(case, number))
        image = _acquire(anatomy, grid, modality, case.is_stripped, np.random.default_rng(number))
        path = folder / f"{modality}.nii.gz"
        write_nifti(path, np.rint(image).astype(np.int16), grid.affine)
        scans.append(Scan("p", "", "benchmark", modality, path))
    return Study("benchmark_p", "benchmark", "p", "", tuple(scans), None, None, "train")


def _affine(case: Case, number: int) -> np.ndarray:
    matrix = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(nib.orientations.axcodes2ornt(tuple(case.axes))):
        matrix[int(world), axis] = sign * case.spacing_mm[axis]
    matrix = rotation(np.array(case.tilts_degrees[number])) @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix
    centre = np.add(CENTRE_MM, case.offsets_mm[number])
    affine[:3, 3] = centre - matrix @ ((np.array(case.shape) - 1) / 2)
    return affine


def _acquire(
    anatomy: Anatomy, grid: Grid, modality: str, is_stripped: bool, rng: np.random.Generator
) -> Floats:
    protocols = draw_protocols(3.0, "mprage", np.random.default_rng(0))
    signals = class_signals(typical_tissues(3.0), protocols[modality], modality)
    ideal = np.zeros(anatomy.grid.shape, np.float32)
    for fractions, signal in zip(anatomy.maps[: len(ANATOMY)], signals, strict=False):
        ideal += np.float32(signal / 255) * fractions
    real = resample(ideal, anatomy.grid, grid)
    real += NOISE * rng.standard_normal(grid.shape, dtype=np.float32)
    imaginary = NOISE * rng.standard_normal(grid.shape, dtype=np.float32)
    image: Floats = np.hypot(real, imaginary) * np.float32(WHITE_LEVEL[modality])
    if is_stripped:
        brain = anatomy.maps[len(ANATOMY) + EXTRAS.index("brain")]
        image *= resample(brain, anatomy.grid, grid) > 127
    return image
