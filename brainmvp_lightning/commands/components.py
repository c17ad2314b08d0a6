"""``brainmvp list``: the parts that a YAML file can name."""

from __future__ import annotations

import difflib
import inspect
import sys
import warnings
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.masking.registry import MASKING
from brainmvp_lightning.methods.registry import METHODS
from brainmvp_lightning.registry import Plugin, Registry

SUMMARY = "show registered backbones, masking, heads, methods and adapters"

KINDS: dict[str, Registry[Any]] = {
    "backbones": BACKBONES,
    "masking": MASKING,
    "heads": HEADS,
    "methods": METHODS,
    "adapters": ADAPTERS,
}
PLUGINS = "--plugins"
_HELP = f"""usage: brainmvp list [{" | ".join(KINDS)}] [{PLUGINS}]

{SUMMARY}

  {PLUGINS}   only parts of other distributions and modules, with those left out and why
"""


def main(argv: list[str]) -> int:
    """Print all parts or those of one kind, or those that are not ours."""
    if "--help" in argv or "-h" in argv:
        sys.stdout.write(_HELP)
        return 0
    kinds = [word for word in argv if word != PLUGINS]
    wrong = [word for word in kinds if word not in KINDS]
    if wrong or len(kinds) > 1:
        close = difflib.get_close_matches(wrong[0], [*KINDS, PLUGINS], n=1) if wrong else []
        question = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join([*KINDS, PLUGINS])
        sys.stderr.write(f"brainmvp list: unknown kind {kinds!r}{question} (known: {known})\n")
        return 2
    chosen = {kind: KINDS[kind] for kind in kinds or KINDS}
    lines = _plugins(chosen) if PLUGINS in argv else _parts(chosen)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _parts(kinds: dict[str, Registry[Any]]) -> Iterator[str]:
    for kind, registry in kinds.items():
        yield kind
        for name in registry.names():
            yield from _describe(registry, name)


def _plugins(kinds: dict[str, Registry[Any]]) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out is listed here
        found = [plugin for registry in kinds.values() for plugin in registry.plugins()]
    if not found:
        groups = ", ".join(registry.package for registry in kinds.values())
        yield f"no plugins: no installed distribution has an entry point in {groups}"
    found.sort(key=_origin)
    for origin, plugins in groupby(found, key=_origin):
        yield origin
        for plugin in plugins:
            yield f"  {plugin.kind} {plugin.name}: {plugin.value}"
            if plugin.fault:
                yield f"      left out: {plugin.fault}"


def _origin(plugin: Plugin) -> str:
    return plugin.origin


def _describe(registry: Registry[Any], name: str) -> Iterator[str]:
    cls = registry.implementation(name)
    summary = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
    shown = ", ".join(map(_parameter, inspect.signature(cls).parameters.values()))
    yield f"  {name}: {summary}"
    yield f"      class   {cls.__module__}.{cls.__qualname__}"
    yield f"      options {shown or 'none'}"
    yield f"      from    {registry.origin(name)}"


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    default = parameter.default
    shown = default.__name__ if isinstance(default, type) else repr(default)
    return f"{parameter.name}={shown}"
