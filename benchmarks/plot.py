"""Draw the figure of the README from the results files.

Run: python benchmarks/plot.py [--output .github/data_engine.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from recording import RESULTS

OURS, OTHERS, CEILING = "#20639b", "#b8c4ce", "#e0a458"
STEPS = (
    "#1b4965",
    "#20639b",
    "#3c8dbc",
    "#62b6cb",
    "#9ad1d4",
    "#cae9ff",
    "#e0a458",
    "#f2cc8f",
    "#c9cdd2",
)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(".github/data_engine.png"))
    output: Path = parser.parse_args().output
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(14, 4.2), width_ratios=(1.3, 1, 1), layout="constrained"
    )
    draw_streaming(left, read("streaming"))
    prepared = read("prepare")
    draw_prepare(middle, prepared)
    draw_steps(right, prepared)
    figure.savefig(output, dpi=110)


def read(name: str) -> list[dict[str, Any]]:
    """Return the rows of a results file."""
    rows: list[dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    return rows


def draw_streaming(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Samples for each second of processor time, on a logarithmic axis."""
    names = [row["name"] for row in rows][::-1]
    values = [row["samples_per_cpu_s"] for row in rows][::-1]
    ratios = [row["ratio"] for row in rows][::-1]
    bars = axes.barh(names, values, color=[colour_of(name) for name in names])
    labels = [f"{value:.3g}   ({ratio:.3g} x)" for value, ratio in zip(values, ratios, strict=True)]
    axes.bar_label(bars, labels, padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 12)
    axes.set_title("streaming: pairs of 96³ crops per core-second", loc="left", fontsize=10)


def colour_of(name: str) -> str:
    """Return the colour of a rival."""
    if name.startswith("ours"):
        return OURS
    return CEILING if "memmap" in name else OTHERS


def draw_prepare(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Processor time of a scan, ours and the chain we compare with."""
    for place, row in enumerate(rows[::-1]):
        ours = row["ours_cpu_ms"] / row["num_scans"]
        monai = row["monai_cpu_ms"] / row["num_scans"]
        axes.barh(place + 0.2, monai, 0.36, color=OTHERS, label="MONAI" if place == 0 else None)
        axes.barh(place - 0.2, ours, 0.36, color=OURS, label="ours" if place == 0 else None)
        axes.text(monai, place + 0.2, f" {monai:.0f}", va="center", fontsize=8)
        axes.text(
            ours, place - 0.2, f" {ours:.0f}   ({row['ratio']:.1f} x)", va="center", fontsize=8
        )
    axes.set_yticks(range(len(rows)), [row["name"].replace(", ", ",\n") for row in rows[::-1]])
    axes.margins(x=0.15)
    axes.legend(frameon=False, loc="upper right")
    axes.set_title("prepare: CPU ms for a scan", loc="left", fontsize=10)


def draw_steps(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Where the time of prepare goes."""
    names = list(rows[0]["steps_percent"])
    for place, row in enumerate(rows[::-1]):
        left = 0.0
        for number, name in enumerate(names):
            share = row["steps_percent"].get(name, 0.0)
            colour = STEPS[number % len(STEPS)]
            axes.barh(
                place, share, 0.6, left=left, color=colour, label=name if place == 0 else None
            )
            left += share
    axes.set_yticks(range(len(rows)), [row["name"].replace(", ", ",\n") for row in rows[::-1]])
    below = (0.12, -0.08)
    axes.legend(frameon=False, fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=below)
    axes.set_title("prepare: our time, %", loc="left", fontsize=10)


if __name__ == "__main__":
    main()
