"""The few numbers of a summary that are compared between runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the means over all cases with all modalities they have.

    Args:
        summary: Of `summarise` or `summarise_classes`.

    Returns:
        ``dice``, ``hd95_mm``, ``dice_<region>`` and ``hd95_mm_<region>``; or the metrics of
        classes, by name. What is undefined is left out.
    """
    block = summary["blocks"][0]
    if "metrics" in block:
        values = {name: metric["estimate"] for name, metric in block["metrics"].items()}
    else:
        values = {name: measure["mean"] for name, measure in block["mean_over_cases"].items()}
        for region, scores in block["regions"].items():
            values |= {f"{name}_{region}": scores[name]["mean"] for name in ("dice", "hd95_mm")}
    return {name: float(value) for name, value in values.items() if value is not None}
