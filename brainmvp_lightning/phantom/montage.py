"""A picture of a cohort: one row per study, one column per modality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from brainmvp_lightning.phantom.bids import LABELS_FOLDER, label_path, scan_path
from brainmvp_lightning.phantom.contrasts import MODALITIES
from brainmvp_lightning.phantom.grids import Floats, Grid, head_grid, resample
from brainmvp_lightning.phantom.plan import StudyPlan

_PIXEL_MM = 1.25
_BOX_ASPECT = 218 / 182  # of the head box
_DEFAULT_Z_MM = 8.0
_COLUMN_INCH, _ROW_INCH, _TITLE_INCH = 1.5, 1.98, 0.3


def draw_montage(root: str | Path, plans: Sequence[StudyPlan], path: str | Path) -> None:
    """Write a PNG of axial slices, through the lesion where there is one; MRA as projection.

    Args:
        root: A finished cohort.
        plans: Studies to show, one row each; missing modalities stay dark.
        path: The picture.
    """
    # Imported here: the generator itself draws no pictures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    root = Path(root)
    height = _TITLE_INCH + _ROW_INCH * len(plans)
    figure = Figure(figsize=(_COLUMN_INCH * len(MODALITIES), height), facecolor="black")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(plans), len(MODALITIES), squeeze=False)
    figure.subplots_adjust(0.002, 0.002, 0.998, 1 - _TITLE_INCH / height, 0.01, 0.1)
    for row, plan in zip(panels, plans, strict=True):
        z_mm = _lesion_height_mm(root, plan)
        row[0].set_title(f"{plan.participant} {plan.site.name} {plan.diagnosis}", **_text("left"))
        for panel, modality in zip(row, MODALITIES, strict=True):
            panel.axis("off")
            panel.set_box_aspect(_BOX_ASPECT)
            if modality in plan.modalities:
                view = _axial_view(root / scan_path(plan, modality), z_mm, modality == "mra")
                top = float(np.percentile(view[view > 0], 99.5)) if view.any() else 1.0
                panel.imshow(view.T, cmap="gray", origin="lower", vmin=0, vmax=top)
    for panel, modality in zip(panels[0], MODALITIES, strict=True):
        panel.set_title(modality.upper(), **_text("right"))
    figure.savefig(path, dpi=100)


def _text(place: str) -> dict[str, object]:
    return {"loc": place, "fontsize": 6, "color": "white", "pad": 2}


def _read(path: Path) -> tuple[Floats, Grid]:
    image = nib.load(path)
    values = np.asarray(image.dataobj, np.float32)
    x, y, z = values.shape[:3]
    # Some sites write 4-D files of one volume.
    return values.reshape(x, y, z), Grid((x, y, z), np.asarray(image.affine, np.float64))


def _lesion_height_mm(root: Path, plan: StudyPlan) -> float:
    values, grid = _read(root / LABELS_FOLDER / label_path(plan))
    voxels = np.argwhere(values > 0)
    if not len(voxels):
        return _DEFAULT_Z_MM
    middle = np.median(voxels, axis=0)
    return float(grid.affine[2, :3] @ middle + grid.affine[2, 3])


def _axial_view(path: Path, z_mm: float, is_projection: bool) -> Floats:
    """Return an axial slice, or the maximum over all of them, in world axes, ``x y``."""
    values, grid = _read(path)
    display = head_grid(_PIXEL_MM)
    if is_projection:
        projection: Floats = resample(values, grid, display).max(axis=2)
        return projection
    plane = display.affine.copy()
    plane[2, 3] = z_mm
    return resample(values, grid, Grid((display.shape[0], display.shape[1], 1), plane))[:, :, 0]
