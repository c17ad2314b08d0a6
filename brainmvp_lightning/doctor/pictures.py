"""Pictures of studies and of intensities, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.doctor.facts import Look, Point, ScanFacts, StudyFacts
from brainmvp_lightning.doctor.outliers import Group
from brainmvp_lightning.preprocessing.checks import read_label
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume, read_nifti

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXELS = 160
MAX_CURVES = 200  # of a panel; more would only blacken it
MAX_GROUPS = 24
_PANEL_INCH = 1.7
_DARK = "#10151c"
_BLUE, _RED, _LABEL = "#3b6ea5", "#d1344b", "#ffb000"
_VIEWS = {"axial": (0, 1, 2), "coronal": (0, 2, 1)}  # across, up, through


def draw_study(study: Study, facts: StudyFacts) -> bytes:
    """Return middle slices of all scans, axial and coronal, at the same place in millimetres.

    Scans that cannot be used say so; the label is a contour.
    """
    lower, upper = _window(facts)
    label = _label_volume(study)
    centre = _label_centre(label) if label is not None else None
    middle = centre if centre is not None else (lower + upper) / 2
    known = {scan.modality: scan for scan in facts.scans}
    figure = _figure(len(study.scans), len(_VIEWS))
    figure.set_facecolor(_DARK)
    panels = figure.subplots(len(_VIEWS), len(study.scans), squeeze=False)
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.92, 0.02, 0.02)
    for column, scan in zip(panels.T, study.scans, strict=True):
        name = (
            f"{scan.modality.upper()}{' (reference)' if scan.modality == facts.reference else ''}"
        )
        column[0].set_title(name, fontsize=8, color="white", pad=3)
        volume = _read(scan) if scan.modality in known else None
        for panel, axes in zip(column, _VIEWS.values(), strict=True):
            plane = _plane(lower, upper, middle, axes)
            _draw_panel(panel, volume, label, plane)
    return _png(figure)


def draw_intensities(groups: Sequence[Group]) -> bytes | None:
    """Return the foreground histograms of all scans, a panel for each data set and modality.

    Scans unlike the others are red. None without scans.
    """
    groups = groups[:MAX_GROUPS]
    if not groups:
        return None
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    figure = _figure(columns, rows, width=2.6, height=1.75)
    panels = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(0.02, 0.4 / (1.75 * rows), 0.98, 1 - 0.25 / (1.75 * rows), 0.08, 0.55)
    for place, panel in enumerate(panels.ravel()):
        if place < len(groups):
            _draw_group(panel, groups[place])
        else:
            panel.axis("off")
    return _png(figure)


def _figure(columns: int, rows: int, width: float = _PANEL_INCH, height: float = 0) -> Figure:
    # Imported here, and without pyplot: checks need no pictures, and pyplot wants a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (max(columns, 1) * width, rows * (height or width) + 0.25)
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100, facecolor=figure.get_facecolor())
    return stream.getvalue()


def _draw_group(panel: Axes, group: Group) -> None:
    looks = [scan.look for _, scan in group.members if scan.look is not None]
    is_log = _needs_logarithm(looks)
    step = max(1, len(looks) // MAX_CURVES)
    shown = [place for place in range(len(looks)) if place in group.odd or place % step == 0]
    for place in sorted(shown, key=lambda place: place in group.odd):
        look = looks[place]
        edges = np.linspace(look.low, look.high, len(look.histogram) + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        # Whole numbers fall unevenly into bins.
        heights = ndimage.uniform_filter1d(np.asarray(look.histogram, np.float64), 3)
        heights /= heights.max()
        is_odd = place in group.odd
        colour, alpha, width = (_RED, 0.95, 1.4) if is_odd else (_BLUE, 0.35, 0.8)
        panel.plot(middle, heights, color=colour, alpha=alpha, linewidth=width)
    if is_log:
        panel.set_xscale("log")
    odd = f", {len(group.odd)} unlike" if group.odd else ""
    title = f"{group.dataset} {group.modality.upper()} ({len(looks)}{odd})"
    panel.set_title(title, fontsize=8, loc="left", color=_RED if group.odd else "#222")
    panel.set_ylim(0, 1.08)
    panel.set_yticks([])
    panel.tick_params(labelsize=6, length=2)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _needs_logarithm(looks: Sequence[Look]) -> bool:
    medians = [look.median for look in looks]
    return min(look.low for look in looks) > 0 and max(medians) > 8 * min(medians)


def _window(facts: StudyFacts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners, in millimetres, of a cube around the head of the reference scan."""
    if not facts.scans:
        return np.full(3, -100.0), np.full(3, 100.0)
    scan = next(scan for scan in facts.scans if scan.modality == facts.reference)
    box = scan.look.head if scan.look is not None else _field_of_view(scan)
    lower, upper = np.asarray(box[0]), np.asarray(box[1])
    middle, half = (lower + upper) / 2, 0.55 * float((upper - lower).max())
    return middle - half, middle + half


def _field_of_view(scan: ScanFacts) -> tuple[Point, Point]:
    affine, shape = np.asarray(scan.affine), np.asarray(scan.shape)
    corners = affine[:3, :3] @ np.stack([np.zeros(3), shape - 1.0], axis=1) + affine[:3, 3:]
    (x, y, z), (far_x, far_y, far_z) = corners.min(axis=1).tolist(), corners.max(axis=1).tolist()
    return (x, y, z), (far_x, far_y, far_z)


def _plane(
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    middle: NDArray[np.float64],
    axes: tuple[int, int, int],
) -> NDArray[np.float64]:
    """Return world points of a slice, ``3 PIXELS PIXELS`` with rows from bottom to top."""
    across, up, through = axes
    points = np.empty((3, PIXELS, PIXELS))
    points[across] = np.linspace(lower[across], upper[across], PIXELS)[None, :]
    points[up] = np.linspace(lower[up], upper[up], PIXELS)[:, None]
    points[through] = middle[through]
    return points


def _draw_panel(
    panel: Axes, volume: Volume | None, label: Volume | None, plane: NDArray[np.float64]
) -> None:
    panel.set_facecolor(_DARK)
    panel.set_xticks([])
    panel.set_yticks([])
    if volume is None:
        panel.text(
            0.5,
            0.5,
            "cannot\nbe used",
            color=_RED,
            ha="center",
            va="center",
            transform=panel.transAxes,
            fontsize=9,
        )
        return
    view = _sample(volume, plane, order=1)
    bottom = float(view.min())
    bright = view[view > bottom]  # empty if the slice lies outside the scan
    top = float(np.percentile(bright, 99.5)) if bright.size else bottom + 1
    panel.imshow(view, cmap="gray", origin="lower", vmin=bottom, vmax=top)
    if label is not None:
        outline = _sample(label, plane, order=0) > 0
        if outline.any():
            panel.contour(outline, levels=[0.5], colors=_LABEL, linewidths=0.8)


def _sample(
    volume: Volume, plane: NDArray[np.float64], order: Literal[0, 1]
) -> NDArray[np.float32]:
    inverse = np.linalg.inv(volume.affine)
    places = np.einsum("ij,jkl->ikl", inverse[:3, :3], plane) + inverse[:3, 3, None, None]
    # Only the slices that the plane touches are converted: whole volumes are large.
    first = np.clip(np.floor(places.min(axis=(1, 2))).astype(int), 0, np.array(volume.shape) - 1)
    last = np.clip(np.ceil(places.max(axis=(1, 2))).astype(int), 0, np.array(volume.shape) - 1)
    cut = volume.array[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
    part: NDArray[np.float32] = cut.astype(np.float32)
    outside = float(part.min()) if order else 0.0
    sampled: NDArray[np.float32] = ndimage.map_coordinates(
        part, places - first[:, None, None], order=order, mode="constant", cval=outside
    )
    return sampled


def _read(scan: Scan) -> Volume | None:
    try:
        volume = read_nifti(scan.path, scan.volumes)
    except VolumeError:
        return None
    if volume.array.dtype.kind == "f":
        array: NDArray[Any] = np.nan_to_num(volume.array, posinf=0.0, neginf=0.0)
        return Volume(array, volume.affine)
    return volume


def _label_volume(study: Study) -> Volume | None:
    if study.label is None:
        return None
    try:
        return read_label(study.label)
    except VolumeError:
        return None


def _label_centre(label: Volume) -> NDArray[np.float64] | None:
    """Return a point, in millimetres, on the slices where the label is largest."""
    if not label.array.any():
        return None
    sums = [np.count_nonzero(label.array, axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    place = np.array([int(np.argmax(counts)) for counts in sums], np.float64)
    centre: NDArray[np.float64] = label.affine[:3, :3] @ place + label.affine[:3, 3]
    return centre
