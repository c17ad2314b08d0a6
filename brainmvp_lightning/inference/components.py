"""Networks from plain data: the name of a class and its options, as a configuration writes them."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.heads.base import Head, TaskHead
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.registry import Registry, UnknownNameError

ComponentSpec = dict[str, Any]
"""``{"class_path": ..., "init_args": {...}}`` of plain JSON values."""

T = TypeVar("T")
_KEYS = {"class_path", "init_args", "dict_kwargs"}


def build_backbone(spec: Mapping[str, Any], in_channels: int) -> Backbone:
    """Build the network that a spec names.

    Args:
        spec: Registered name or import path, and options.
        in_channels: Channels of the image.

    Raises:
        ValueError: If there is no such backbone, or it does not take these options.
    """
    cls = _find(spec, BACKBONES, Backbone)
    return _build(cls, spec, in_channels)


def build_head(spec: Mapping[str, Any], backbone: Backbone, num_outputs: int) -> TaskHead:
    """Build the head that a spec names.

    Args:
        spec: Registered name or import path, and options.
        backbone: What the head reads.
        num_outputs: Channels of an answer.

    Raises:
        ValueError: If there is no such head, it answers no task, or does not take these options.
    """
    cls = _find(spec, HEADS, TaskHead)
    return _build(cls, spec, backbone, num_outputs)


def component_spec(factory: Callable[..., Any] | Mapping[str, Any]) -> ComponentSpec:
    """Return the spec behind a class, a `functools.partial` of one, or a spec.

    Registered classes get their short name, so that the spec outlives a move of the class.

    Args:
        factory: A mapping may have private keys of a command line, which are dropped.

    Raises:
        TypeError: If it is none of these, or has options that JSON cannot hold.
    """
    if isinstance(factory, Mapping):
        options = {**factory.get("init_args", {}), **factory.get("dict_kwargs", {})}
        name = str(factory.get("class_path", ""))
    else:
        cls, options = _class_and_options(factory)
        name = f"{cls.__module__}.{cls.__qualname__}"
    if not name or "<" in name:
        raise TypeError(
            f"{factory!r} cannot be named in a file; give a class of a module, or a mapping with "
            "class_path and init_args"
        )
    return {"class_path": _short(name), "init_args": _plain_options(name, options)}


def _class_and_options(factory: Callable[..., Any]) -> tuple[type, dict[str, Any]]:
    if isinstance(factory, type):
        return factory, {}
    if isinstance(factory, functools.partial):
        # A command line hands over a partial of a function of its own, the class among the words.
        words = [factory.func, *factory.args]
        classes = [word for word in words if isinstance(word, type)]
        if len(classes) == 1 and all(callable(word) for word in words):
            return classes[0], dict(factory.keywords)
    raise TypeError(
        f"{factory!r} must be a class, or functools.partial(class, option=value, ...) with all "
        "options by name"
    )


def _plain_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(_public(options), default=_as_dict))
    except TypeError as error:
        raise TypeError(
            f"the options of {name} must be numbers, words, lists and mappings ({error})"
        ) from error
    return plain


def _public(value: Any) -> Any:  # noqa: ANN401 - any option
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return {str(k): _public(v) for k, v in value.items() if not str(k).startswith("_")}
    return [_public(item) for item in value] if isinstance(value, (list, tuple)) else value


def _as_dict(value: Any) -> Any:  # noqa: ANN401 - any option
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is none of them")


def _short(name: str) -> str:
    for registry in (BACKBONES, HEADS):
        alias = f"{registry.package}.registry."
        if name.startswith(alias):
            return name.removeprefix(alias)
        for known in registry.names():
            implementation = registry.implementation(known)
            if f"{implementation.__module__}.{implementation.__qualname__}" == name:
                return known
    return name


def _find(spec: Mapping[str, Any], registry: Registry[Any], base: type[T]) -> type[T]:
    name = spec.get("class_path")
    if not isinstance(name, str) or not spec.keys() <= _KEYS:
        raise ValueError(
            f"a {registry.kind} is named by {{class_path: ..., init_args: {{...}}}}, "
            f"got {dict(spec)!r}"
        )
    cls = _imported(name, registry) if "." in name else _registered(name, registry)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(f"{name} is no {base.__name__}{_hint(name, registry, base)}")
    return cls


def _registered(name: str, registry: Registry[Any]) -> Any:  # noqa: ANN401 - checked by the caller
    try:
        return registry.get(name)
    except UnknownNameError as error:
        raise ValueError(str(error)) from error


def _imported(path: str, registry: Registry[Any]) -> Any:  # noqa: ANN401 - checked by the caller
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None  # a file from elsewhere must not get at what importing such modules does
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        hint = "" if isinstance(error, UnknownNameError) else _hint(name, registry, Head)
        raise ValueError(
            f"{registry.kind} {path} cannot be imported ({error}); install the package it is part "
            f"of{hint}"
        ) from error


def _hint(name: str, registry: Registry[Any], base: type) -> str:
    if base is not TaskHead:
        return registry.hint(name)
    heads = [known for known in registry.names() if issubclass(registry.get(known), TaskHead)]
    return f", so it answers no task (heads that do: {', '.join(heads) or 'none'})"


def _build(cls: type[T], spec: Mapping[str, Any], *args: Any) -> T:  # noqa: ANN401
    options = {**spec.get("init_args", {}), **spec.get("dict_kwargs", {})}
    try:
        return cls(*args, **{name: _frozen(value) for name, value in options.items()})
    except TypeError as error:
        listed = ", ".join(f"{name}={value!r}" for name, value in options.items()) or "no options"
        raise ValueError(f"{spec['class_path']} cannot be built with {listed}: {error}") from error


def _frozen(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
