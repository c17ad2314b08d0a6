"""Volumes as pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.atomic import write_bytes


def draw_slices(
    rows: Sequence[Sequence[np.ndarray]],
    path: Path,
    *,
    columns: Sequence[str],
    labels: Sequence[str] = (),
    limits: tuple[float, float] | None = (0.0, 1.0),
) -> None:
    """Draw the middle axial slice of volumes as a grid.

    Slices are shown as radiologists see them less the mirror: right is right, front is up.

    Args:
        rows: Volumes ``x y z`` for each row and column.
        path: PNG file to write; its folder is made.
        columns: Title of each column.
        labels: Name of each row.
        limits: Grey levels of black and white; ``None`` takes each volume's 1st and 99th
            percentile.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 * len(columns), 1.7 * len(rows) + 0.3), facecolor="black")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, volumes in enumerate(rows):
        for j, volume in enumerate(volumes):
            axes = grid[i, j]
            low, high = limits or tuple(np.percentile(volume, (1, 99)))
            middle = volume[:, :, volume.shape[2] // 2]
            axes.imshow(middle.T, cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-6))
            axes.set_axis_off()
            if i == 0:
                axes.set_title(columns[j], color="white", fontsize=8)
        if i < len(labels):
            grid[i, 0].text(
                0.03, 0.03, labels[i], color="white", fontsize=7, transform=grid[i, 0].transAxes
            )
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.3 / (1.7 * len(rows) + 0.3), 0.02, 0.02)
    _save(figure, path)


# Colours of label values 1, 2, ...: told apart by people with any colour vision (Okabe and Ito).
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")


def draw_overlay(
    image: np.ndarray,
    labels: Mapping[str, np.ndarray],
    path: Path,
    *,
    names: Mapping[int, str],
    title: str = "",
) -> None:
    """Draw annotations and predictions over the axial slice that holds most of them.

    Args:
        image: ``x y z`` in RAS+, any intensities.
        labels: Label maps on the same voxels by title, the first one decides about the slice (the
            second where the first is empty).
        path: PNG file to write; its folder is made.
        names: What the values of the label maps are; 0 is not drawn.
        title: Over the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    filled = [label for label in labels.values() if label.any()]
    counts = (filled[0] > 0).sum(axis=(0, 1)) if filled else None
    place = image.shape[2] // 2 if counts is None else int(counts.argmax())
    figure = Figure(figsize=(3.0 * (1 + len(labels)), 4.0), facecolor="black")
    FigureCanvasAgg(figure)
    low, high = np.percentile(image, (1, 99.5))
    colours = ListedColormap([_COLOURS[(n - 1) % len(_COLOURS)] for n in range(1, max(names) + 1)])
    columns = figure.subplots(1, 1 + len(labels))
    for axes, (column, label) in zip(columns, [("image", None), *labels.items()], strict=True):
        axes.imshow(image[:, :, place].T, cmap="gray", origin="lower", vmin=low, vmax=high)
        if label is not None:
            shown = np.ma.masked_equal(label[:, :, place].T, 0)
            axes.imshow(shown, cmap=colours, origin="lower", vmin=1, vmax=max(names), alpha=0.6)
        axes.set_title(column, color="white", fontsize=9)
        axes.set_axis_off()
    patches = [Patch(color=colours(n - 1), label=names[n]) for n in sorted(names) if n > 0]
    figure.legend(
        handles=patches, loc="lower center", ncol=len(patches), fontsize=8, frameon=False,
        labelcolor="white",
    )  # fmt: skip
    figure.suptitle(title, color="white", fontsize=9)
    figure.subplots_adjust(0.01, 0.1, 0.99, 0.87, 0.02, 0.02)
    _save(figure, path)


@dataclass(frozen=True, eq=False)
class DrawnCase:
    """A slice of a study.

    Attributes:
        image: ``x y``, scaled to [0, 1].
        truth: Annotated regions, ``r x y``, bool.
        prediction: Regions that a network sees, ``r x y``, bool.
        dice: Of the whole study.
        modality: What the image is.
    """

    image: NDArray[np.float32]
    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    dice: float
    modality: str


def draw_cases(cases: Sequence[DrawnCase], path: Path, *, regions: Sequence[str]) -> None:
    """Draw image, annotation and prediction of some studies, one in a row.

    The outline of what is annotated is repeated in white over the prediction. Small regions are
    drawn over larger ones, which may hold them.

    Args:
        cases: Slices of studies.
        path: PNG file to write; its folder is made.
        regions: Names of the regions.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height = 2.4 * len(cases) + 0.6
    figure = Figure(figsize=(6.6, height), facecolor="black")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(cases), 3, squeeze=False)
    colours = [_COLOURS[number % len(_COLOURS)] for number in range(len(regions))]
    order = _largest_first(cases)
    for row, case in zip(grid, cases, strict=True):
        _draw_case(row, case, colours, order)
    for axes, title in zip(grid[0], ("image", "annotation", "prediction"), strict=True):
        axes.set_title(title, color="white", fontsize=9)
    figure.legend(
        handles=[Patch(color=colours[n], label=regions[n]) for n in range(len(regions))],
        loc="lower center", ncol=min(6, len(regions)), fontsize=8, frameon=False,
        labelcolor="white",
    )  # fmt: skip
    figure.subplots_adjust(0.01, 0.35 / height, 0.99, 1 - 0.25 / height, 0.02, 0.02)
    _save(figure, path)


def _draw_case(row: Any, case: DrawnCase, colours: Sequence[str], order: Sequence[int]) -> None:  # noqa: ANN401 - axes
    for axes, filled in zip(row, (None, case.truth, case.prediction), strict=True):
        low, high = np.percentile(case.image, (1, 99.5))
        limits = {"vmin": low, "vmax": max(high, low + 1e-6)}
        axes.imshow(case.image.T, cmap="gray", origin="lower", **limits)
        axes.set_axis_off()
        if filled is not None:
            _paint(axes, filled, colours, order)
    if case.truth.any():
        outline = case.truth.any(axis=0).T
        for colour, width in (("black", 1.8), ("white", 0.8)):  # seen on any grey
            row[2].contour(outline, levels=[0.5], colors=colour, linewidths=width)
    for axes, text in ((row[0], case.modality), (row[2], f"Dice {case.dice:.2f}")):
        axes.text(0.03, 0.03, text, color="white", fontsize=8, transform=axes.transAxes)


def _paint(
    axes: Any,  # noqa: ANN401 - axes
    regions: NDArray[np.bool_],
    colours: Sequence[str],
    order: Sequence[int],
) -> None:
    from matplotlib.colors import to_rgb

    shown = np.zeros((*regions.shape[1:], 4))
    for region in order:
        shown[regions[region]] = (*to_rgb(colours[region]), 0.6)
    axes.imshow(shown.swapaxes(0, 1), origin="lower")


def _largest_first(cases: Sequence[DrawnCase]) -> list[int]:
    """Return the regions by annotated size, over all cases; by predicted size among equals."""
    truth = np.sum([case.truth.sum(axis=(1, 2)) for case in cases], axis=0)
    prediction = np.sum([case.prediction.sum(axis=(1, 2)) for case in cases], axis=0)
    return [int(region) for region in np.lexsort((-prediction, -truth))]


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401 - a figure
    content = io.BytesIO()
    figure.savefig(content, dpi=110, facecolor="black", format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())
