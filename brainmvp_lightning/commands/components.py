"""``brainmvp list``: the parts that a YAML file can name."""

from __future__ import annotations

import difflib
import inspect
import sys
from typing import Any

from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.masking.registry import MASKING
from brainmvp_lightning.methods.registry import METHODS
from brainmvp_lightning.registry import Registry

SUMMARY = "show registered backbones, masking, heads, methods and adapters"

KINDS: dict[str, Registry[Any]] = {
    "backbones": BACKBONES,
    "masking": MASKING,
    "heads": HEADS,
    "methods": METHODS,
    "adapters": ADAPTERS,
}


def main(argv: list[str]) -> int:
    """Print all parts, or those of one kind."""
    if "--help" in argv or "-h" in argv:
        sys.stdout.write(f"usage: brainmvp list [{' | '.join(KINDS)}]\n\n{SUMMARY}\n")
        return 0
    wrong = [word for word in argv if word not in KINDS]
    if wrong or len(argv) > 1:
        close = difflib.get_close_matches(wrong[0], KINDS, n=1) if wrong else []
        question = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join(KINDS)
        sys.stderr.write(f"brainmvp list: unknown kind {argv!r}{question} (known: {known})\n")
        return 2
    for kind in argv or KINDS:
        sys.stdout.write(f"{kind}\n")
        for name in KINDS[kind].names():
            sys.stdout.write(_describe(KINDS[kind], name))
    return 0


def _describe(registry: Registry[Any], name: str) -> str:
    cls = registry.implementation(name)
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    parameters = list(inspect.signature(cls).parameters.values())
    shown = ", ".join(_parameter(parameter) for parameter in parameters)
    return (
        f"  {name}: {summary}\n"
        f"      class   {cls.__module__}.{cls.__qualname__}\n"
        f"      options {shown or 'none'}\n"
        f"      from    {registry.origin(name)}\n"
    )


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    default = parameter.default
    shown = default.__name__ if isinstance(default, type) else repr(default)
    return f"{parameter.name}={shown}"
