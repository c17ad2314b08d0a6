"""Volumes as pictures."""

from __future__ import annotations

from collections.abc import Sequence
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
