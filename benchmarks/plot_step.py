"""Draw where the time of a step goes, ours and the published one, from the results file.

Run: python benchmarks/plot_step.py [--results step] [--output .github/step.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from plot import CEILING, OTHERS, OURS, read

Row = dict[str, Any]


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", default="step", help="name of the file of results")
    parser.add_argument("--output", type=Path, default=Path(".github/step.png"))
    options = parser.parse_args()
    rows = first_case(read(options.results))
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.2), width_ratios=(1.6, 1), layout="constrained"
    )
    draw_times(left, rows)
    draw_shares(right, rows)
    figure.savefig(options.output, dpi=110)
    plt.close(figure)


def first_case(rows: list[Row]) -> list[Row]:
    """Return the parts of a step, as the first case of the file was measured.

    Raises:
        ValueError: If the file has no parts.
    """
    parts = [row for row in rows if row["kind"] == "stages" and "part" in row]
    if not parts:
        raise ValueError(
            "the file has no times of the parts of a step; run python benchmarks/step.py without "
            "--only, or name a file that --only stages has written"
        )
    case = ("batch", "precision", "compile", "checkpointing")
    return [row for row in parts if all(row[name] == parts[0][name] for name in case)]


def draw_times(axes: Axes, rows: list[Row]) -> None:
    """Time of each part in both steps, on a logarithmic axis."""
    for place, row in enumerate(rows[::-1]):
        is_first = place == 0
        for name, colour, shift in (("published", OTHERS, 0.2), ("ours", OURS, -0.2)):
            label = name if is_first else None
            axes.barh(place + shift, row[f"{name}_ms"], 0.36, color=colour, label=label)
        text = f" {_time(row['ours_ms'])}   ({row['ratio']:.3g} x)"
        axes.text(row["ours_ms"], place - 0.2, text, va="center", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.set_yticks(range(len(rows)), [row["part"] for row in rows[::-1]])
    axes.legend(frameon=False, loc="lower right")
    clock = "CPU ms" if rows[0]["device"] == "cpu" else "GPU ms"
    size, batch = rows[0]["size"], rows[0]["batch"]
    title = f"parts of a step, batch {batch} of {size}³: {clock}, with the backward pass"
    axes.set_title(title, loc="left", fontsize=10)


def _time(ms: float) -> str:
    return f"{ms:.3g} ms" if ms < 1000 else f"{ms / 1000:.3g} s"


def draw_shares(axes: Axes, rows: list[Row]) -> None:
    """How near our parts come to the limit of the device."""
    names = [f"{row['part']} ({row['bound']})" for row in rows[::-1]]
    shares = [100 * row["ours_roofline_share"] for row in rows[::-1]]
    bars = axes.barh(names, shares, 0.6, color=OURS)
    axes.bar_label(bars, [f"{share:.0f} %" for share in shares], padding=3, fontsize=8)
    axes.axvline(100, color=CEILING)
    axes.set_title("ours: share of the device's limit, %", loc="left", fontsize=10)


if __name__ == "__main__":
    main()
