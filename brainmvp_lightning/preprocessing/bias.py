"""Slow brightness changes of receive coils, evened out."""

from __future__ import annotations

import importlib.util

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.foreground import find_foreground
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.nifti import Volume

SHRINK = 4
MIN_VOXELS = 16  # along an axis after shrinking
MAX_NEGATIVE = 0.01  # share of the head; N4 works on logarithms
QUANTITATIVE = ("adc",)  # ratios of two images, in which the field cancels


def check_bias_tool(recipe: Recipe) -> None:
    """Check that the package is there if the recipe needs it.

    Raises:
        MissingToolError: If it is not installed.
    """
    if recipe.bias_correction == "n4" and importlib.util.find_spec("SimpleITK") is None:
        raise MissingToolError("recipe.bias_correction 'n4' needs a package: pip install SimpleITK")


def correct_bias(
    study: Study, volumes: dict[Scan, Volume], recipe: Recipe, problems: list[Problem]
) -> dict[Scan, Volume]:
    """Divide each scan by its bias field, as far as the recipe says; ADC maps have none.

    Args:
        study: The study.
        volumes: Its scans.
        recipe: Names the method.
        problems: Gets a sentence for each scan on which the method does not work.

    Raises:
        MissingToolError: If the package is not installed.
    """
    if recipe.bias_correction == "none":
        return volumes
    corrected = {}
    for scan, volume in volumes.items():
        corrected[scan] = volume
        if scan.modality in QUANTITATIVE:
            continue
        found = _corrected(volume, recipe)
        if found is None:
            reason = "it has negative intensities, so its bias field was left as it is"
            remedy = "give it as the scanner made it"
            problems.append(Problem(study.id, str(scan.path), reason, remedy, is_handled=True))
            continue
        corrected[scan] = found
    return corrected


def _corrected(volume: Volume, recipe: Recipe) -> Volume | None:
    real = volume.real()
    head = find_foreground(real, recipe.foreground)
    negative = np.count_nonzero(real[head.mask] <= 0)
    if negative > MAX_NEGATIVE * np.count_nonzero(head.mask):
        return None
    mask = head.mask & (real > 0)
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    even = real / bias_field(real, mask, spacing)
    if head.is_flat:  # a background of one value stays one
        even = np.where(real == head.background, real, even)
    return Volume(even.astype(np.float32, copy=False), volume.affine, notes=volume.notes)


def bias_field(
    image: NDArray[np.float32], mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return a smooth field, ``x y z``, whose geometric mean over the mask is 1.

    Args:
        image: ``x y z``, above 0 in the mask.
        mask: ``x y z``, the head.
        spacing_mm: Edges of a voxel.

    Raises:
        MissingToolError: If SimpleITK is not installed.

    Source:
        Tustison et al., "N4ITK: improved N3 bias correction", 2010.
    """
    try:
        import SimpleITK as sitk  # noqa: N813 - its usual name
    except ImportError as error:
        raise MissingToolError(
            "recipe.bias_correction 'n4' needs a package: pip install SimpleITK"
        ) from error
    scan = sitk.GetImageFromArray(image.T)  # the library counts axes z y x
    scan.SetSpacing([float(edge) for edge in spacing_mm])
    head = sitk.GetImageFromArray(mask.T.astype(np.uint8))
    head.CopyInformation(scan)
    shrink = [max(1, min(SHRINK, extent // MIN_VOXELS)) for extent in image.shape]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(sitk.Shrink(scan, shrink), sitk.Shrink(head, shrink))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(scan)).T
    even: NDArray[np.float32] = np.exp(field - field[mask].mean(), dtype=np.float32)
    return even
