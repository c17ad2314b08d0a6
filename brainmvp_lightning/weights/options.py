"""Options of a network that the shapes of its tensors do not show."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

# These change names or shapes of tensors, so that a comparison of those tells of them.
_SHOWN = (
    *("in_channels", "widths", "width", "hidden_width", "mlp_width", "fine_width", "mlp_ratio"),
    *("depths", "num_layers", "stage_strides", "image_size", "window_size"),
)
# These do not change what trained weights mean.
_HARMLESS = ("channels_last", "drop", "checkpoint")  # and drop_path, dropout, use_checkpoint, ...


def class_in_file(
    network: object, told: Mapping[str, Any], asked: Mapping[str, Any]
) -> type | None:
    """Return the class of a network, or the parent of it, that a file names; None if it is another.

    Args:
        network: Built from `asked`.
        told: Spec in the file: ``class_path`` or ``class``, a registered name or an import path.
        asked: Spec of the network, as far as it is known.
    """
    names = set(_names(told))
    if names & set(_names(asked)):
        return type(network)
    parents = (cls for cls in type(network).__mro__ if _simple(cls.__name__) in names)
    return next(parents, None)


def all_options(cls: type, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a spec gives, and the defaults of the class for the others."""
    options: dict[str, Any] = {}
    for parent in reversed(cls.__mro__):
        init = vars(parent).get("__init__")
        if inspect.isfunction(init):
            parameters = inspect.signature(init).parameters.values()
            options |= {p.name: p.default for p in parameters if p.default is not p.empty}
    given = {**(spec.get("init_args") or {}), **(spec.get("dict_kwargs") or {})}
    return {name: _plain(value) for name, value in {**options, **given}.items()}


def hidden_differences(
    network: object, told: Mapping[str, Any], asked: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield options of one class that differ though no shape shows it, with both values.

    Args:
        network: As in `class_in_file`.
        told: As there; the value in the file comes first.
        asked: As there.
    """
    cls = class_in_file(network, told, asked)
    if cls is None:
        return
    before, now = all_options(cls, told), all_options(type(network), asked)
    for name in before.keys() & now.keys():
        is_compared = name not in _SHOWN and not any(part in name for part in _HARMLESS)
        if is_compared and before[name] != now[name]:
            yield name, before[name], now[name]


def _names(spec: Mapping[str, Any]) -> Iterator[str]:
    for key in ("class_path", "class"):
        if isinstance(name := spec.get(key), str):
            yield _simple(name.rpartition(".")[2])


def _simple(name: str) -> str:
    """Return what a registered name and the name of its class have in common."""
    return name.replace("_", "").lower()


def _plain(value: Any) -> Any:  # noqa: ANN401 - any option
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
