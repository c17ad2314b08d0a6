"""Which classes may stand where a configuration asks for one, and by which names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from brainmvp_lightning.registry import Registry

PACKAGE = "brainmvp_lightning"
LIGHTNING = ("lightning", "pytorch_lightning")
CLI_MODULE = "lightning.pytorch.cli"  # its callback is built by the program, not by a file


@dataclass(frozen=True)
class Choice:
    """A class that can be chosen.

    Attributes:
        name: What one writes: a registered name, or the name of the class.
        cls: The class whose options it takes.
        implementation: The same, or what a registered name stands for.
    """

    name: str
    cls: type
    implementation: type

    @property
    def pattern(self) -> str:
        """Expression for its names alone, or below any import path of its packages."""
        names = "|".join(dict.fromkeys((self.name, self.implementation.__name__)))
        return rf"^(({'|'.join(self.roots)})\.(\w+\.)*)?({names})$"

    @property
    def key(self) -> str:
        """Name by which its options are found; registered names are those of a kind of part."""
        package, _, module = self.cls.__module__.rpartition(".")
        is_registered = module == "registry"
        kind = package.rpartition(".")[2]
        return f"{kind}.{self.name}" if is_registered else f"{self.cls.__name__}.options"

    @property
    def roots(self) -> tuple[str, ...]:
        """Top-level packages that the class may be imported from."""
        root = root_of(self.implementation)
        return LIGHTNING if root in LIGHTNING else tuple(dict.fromkeys((root, root_of(self.cls))))

    @property
    def summary(self) -> str:
        """First paragraph of the docstring, on one line."""
        return summary(self.cls)


class Catalogue:
    """Finds the classes that can be chosen in place of a base class.

    Args:
        registries: Kinds of parts that have names of their own.
        shipped: Classes of this package that are named by class alone; its other classes are
            bases and inner parts.
        with_plugins: Whether classes of other distributions than this one and Lightning count.
    """

    def __init__(
        self, registries: Sequence[Registry[Any]], shipped: Sequence[type], *, with_plugins: bool
    ) -> None:
        self._registries = registries
        self._shipped = set(shipped)
        self._with_plugins = with_plugins
        self._implementations = {
            registry.implementation(name) for registry in registries for name in registry.names()
        }
        self._aliases = {registry.get(name) for registry in registries for name in registry.names()}

    def counts(self, cls: type) -> bool:
        """Tell whether a class is described at all."""
        return self._with_plugins or is_known(cls)

    def choices(self, base: type) -> list[Choice]:
        """Return what can be chosen in place of `base`, registered names first."""
        found = [
            Choice(name, registry.get(name), registry.implementation(name))
            for registry in self._registries
            for name in registry.names()
            if issubclass(registry.get(name), base) and self.counts(registry.implementation(name))
        ]
        named = {
            cls.__name__: cls
            for cls in (base, *_descendants(base))
            if cls not in self._aliases | self._implementations and self._is_offered(cls)
        }
        return found + [Choice(name, named[name], named[name]) for name in sorted(named)]

    def _is_offered(self, cls: type) -> bool:
        is_hidden = inspect.isabstract(cls) or "._" in f".{cls.__module__}.{cls.__qualname__}"
        has_path = getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls
        if is_hidden or not has_path or cls.__module__ == CLI_MODULE or not self.counts(cls):
            return False
        return root_of(cls) != PACKAGE or cls in self._shipped


def is_known(cls: type) -> bool:
    """Tell whether a class is one of this package or of Lightning."""
    return root_of(cls) in (PACKAGE, *LIGHTNING)


def root_of(cls: type) -> str:
    """Return the top-level package of a class."""
    return cls.__module__.partition(".")[0]


def summary(cls: type) -> str:
    """Return the first paragraph of a class's docstring, on one line."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def _descendants(base: type) -> Iterator[type]:
    inner: list[type] = base.__subclasses__()
    for cls in inner:
        yield cls
        yield from _descendants(cls)
