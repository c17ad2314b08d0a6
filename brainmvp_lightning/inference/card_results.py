"""Results of a test run as the Markdown of a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from brainmvp_lightning.evaluation.text_table import format_ends, format_number, format_title

_NONE = "Not reported here."
_CLASS_METRICS = ("auc", "accuracy", "balanced_accuracy", "f1")


def results(metrics: Mapping[str, Any]) -> str:
    """Return the section of a card on results.

    Args:
        metrics: The ``summary.json`` of a test run, of which each block becomes a table; or
            numbers by name.
    """
    if "blocks" not in metrics:
        return _numbers(metrics)
    share = f"{100 * float(metrics.get('level') or 0.95):g} %"
    tables = [_block(block, share) for block in metrics["blocks"]]
    return "\n\n".join(tables) or _NONE


def _block(block: Mapping[str, Any], share: str) -> str:
    title = format_title(block)
    if "space" in block:
        title += f", {block['space']} space"
    rows = _regions(block, share) if "regions" in block else _classes(block, share)
    return f"{title}:\n\n{_table(list(rows))}"


def _regions(block: Mapping[str, Any], share: str) -> Iterator[Sequence[str]]:
    yield ("region", "cases", "Dice", share, "HD95, mm", share, "missed", "false alarms")
    for name, region in block["regions"].items():
        counts = (str(region["missed"]), str(region["false_alarms"]))
        yield (name, str(region["n"]), *_measures(region), *counts)
    yield ("mean over cases", str(block["cases"]), *_measures(block["mean_over_cases"]), "", "")


def _measures(measures: Mapping[str, Any]) -> Iterator[str]:
    for name, digits in (("dice", 4), ("hd95_mm", 2)):
        yield format_number(measures[name]["mean"], digits)
        yield format_ends(measures[name], digits)


def _classes(block: Mapping[str, Any], share: str) -> Iterator[Sequence[str]]:
    yield ("metric", "cases", "value", share)
    for name in _CLASS_METRICS:
        if name in block["metrics"]:
            metric = block["metrics"][name]
            value = format_number(metric["estimate"], 4)
            yield (name.replace("_", " "), str(metric["n"]), value, format_ends(metric, 4))


def _numbers(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return _NONE
    rows = [("metric", "value"), *((name, _number(value)) for name, value in metrics.items())]
    return _table(rows)


def _number(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join((head, f"|{'---|' * len(rows[0])}", *body))
