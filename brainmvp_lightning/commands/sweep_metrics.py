"""What a task logs in validation, and which way is better."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jsonargparse import Namespace

LOWER, HIGHER = "minimize", "maximize"

# Patterns of names after "val/", with the goal; None: neither way is better.
_SEGMENTATION: Mapping[str, str | None] = {"dice": HIGHER, r"dice_\w+": HIGHER}
_CLASSIFICATION: Mapping[str, str | None] = {
    "auc": HIGHER,
    "accuracy": HIGHER,
    "f1": HIGHER,
    "cross_entropy": LOWER,
}
_TASKS = {"SegmentationTask": _SEGMENTATION, "ClassificationTask": _CLASSIFICATION}
_PRETRAINING, _METHODS = "PretrainTask", ("brainmvp", "BrainMVP")
_TERMS = ("cross_modal", "distillation", "contrast")


def validation_metrics(model: Namespace) -> Mapping[str, str | None] | None:
    """Return patterns of what a task logs in validation, each with its goal.

    Args:
        model: The task's class and options.

    Returns:
        None for a task or a method of another package, of which nothing is known.
    """
    task = _own_name(model)
    if task == _PRETRAINING and _own_name(model.init_args.method) in _METHODS:
        found: dict[str, str | None] = {"total": LOWER, "masked_share": None, "negatives": None}
        options = model.init_args.method.init_args
        for term in _TERMS:
            if options.get(term) is not None:
                found |= {term: LOWER}
                found |= {} if term == "contrast" else {f"{term}_mse": LOWER}
    elif task in _TASKS:
        found = dict(_TASKS[task])
    else:
        return None
    return {f"val/{name}": goal for name, goal in found.items()}


def _own_name(part: Namespace) -> str:
    """Return the name of a class of this package, nothing for any other."""
    path = str(part.class_path)
    return path.rpartition(".")[2] if path.startswith("brainmvp_lightning.") else ""


def goal_of(name: str, metrics: Mapping[str, str | None]) -> tuple[bool, str | None]:
    """Return whether a metric is logged, and its goal."""
    for pattern, goal in metrics.items():
        if re.fullmatch(pattern, name):
            return True, goal
    return False, None


def readable(metrics: Mapping[str, str | None]) -> Sequence[str]:
    """Return the names as a reader writes them."""
    return [name.replace(r"\w+", "REGION") for name, goal in metrics.items() if goal]
