"""Volumes as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, facecolor="black")


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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, facecolor="black")
