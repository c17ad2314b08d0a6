"""Whether checkpoint, network and data belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmvp_lightning.batches import DataDescription, LabelledDescription
from brainmvp_lightning.tasks.base import SetupError


def check_same_network(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Compare the network of a run with that of its checkpoint.

    Raises:
        SetupError: If they differ in what decides about tensors or their meaning.
    """
    check_same_parts(ours, theirs)
    description = LabelledDescription.from_json(theirs["description"])
    check_same_data(description, LabelledDescription.from_json(ours["description"]), True)


def check_same_parts(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Compare backbone and head, which must have the same class and options.

    Raises:
        SetupError: If they differ.
    """
    for part in ("backbone", "head"):
        if ours[part] != theirs[part]:
            raise SetupError(
                f"the checkpoint holds another {part} ({_text(theirs[part])}) than the "
                f"configuration ({_text(ours[part])}); use the config.yaml beside the checkpoint"
            )


def check_same_data(
    network: LabelledDescription, data: DataDescription, has_annotations: bool
) -> None:
    """Compare the data that a network was trained for with those it is given.

    Raises:
        SetupError: If they differ in what the network takes or answers.
    """
    names = ["modalities", "spacing_mm", "resized_to", "clip"]
    if has_annotations:
        names += ["region_names", "overlapping", "label_regions", "class_names"]
    for name in names:
        expected, found = getattr(network, name), getattr(data, name, None)
        if found != expected:
            raise SetupError(
                f"the network was trained with {name} {_text(expected)}, the data have "
                f"{_text(found)}; set the options of data as in the config.yaml of its run"
            )


def _text(value: Any) -> str:  # noqa: ANN401 - any plain value
    if isinstance(value, Mapping) and "class_path" in value:
        return (
            str(value["class_path"]).rpartition(".")[2] + f" {dict(value.get('init_args') or {})}"
        )
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    return str(value)
