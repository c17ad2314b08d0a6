"""Whether checkpoint, network and data belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmvp_lightning.batches import DataDescription, LabelledDescription
from brainmvp_lightning.tasks.base import SetupError

_HARMLESS = ("codec", "pipeline_version")  # how a cache is stored


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
    names = ["modalities", "spacing_mm", "resized_to", "placement", "clip"]
    if network.resized_to is not None:
        names.append("crop_size")
    if has_annotations:
        names += ["region_names", "overlapping", "label_regions", "class_names"]
    for name in names:
        expected, found = getattr(network, name), getattr(data, name, None)
        if found != expected:
            raise SetupError(
                f"the network was trained with {name} {_text(expected)}, the data have "
                f"{_text(found)}; set the options of data as in the config.yaml of its run"
            )


def centre_shift(network: LabelledDescription, data: DataDescription) -> tuple[int, int, int]:
    """Return the voxels to add to origins of other data, so that templates stay in their place.

    Where crops lie in the world, origins count from the centre of the cache at hand, templates from
    that of the cache the network was trained on.
    """
    if network.placement != "world" or network.resized_to is not None:
        return 0, 0, 0
    x, y, z = (
        round((theirs - own) / edge)
        for theirs, own, edge in zip(
            data.centre_mm, network.centre_mm, network.spacing_mm, strict=True
        )
    )
    return x, y, z


def recipe_differences(network: LabelledDescription, data: DataDescription) -> list[str]:
    """Return a sentence for each setting by which other data were prepared otherwise."""
    found = getattr(data, "recipe", {})
    names = [name for name in {**network.recipe, **found} if name not in _HARMLESS]
    return [
        f"the data were prepared with recipe.{name} {found.get(name, 'none')}, those of the "
        f"training with {network.recipe.get(name, 'none')}; scores and predictions may suffer"
        for name in names
        if network.recipe.get(name) != found.get(name)
    ]


def _text(value: Any) -> str:  # noqa: ANN401 - any plain value
    if isinstance(value, Mapping) and "class_path" in value:
        return (
            str(value["class_path"]).rpartition(".")[2] + f" {dict(value.get('init_args') or {})}"
        )
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    return str(value)
