"""Names for exchangeable parts: one word in YAML stands for a real, importable class."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
import types
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound=type)

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class UnknownNameError(AttributeError, LookupError):
    """A name that no registered class has; the message lists the nearest valid names."""


class Registry(Generic[T]):
    """Classes of one kind, by snake-case name.

    A registered class gets an alias subclass called by its name in ``<package>.registry``, so that
    jsonargparse, pickle and saved configurations find it without knowing about registries.

    Args:
        kind: What the classes are, in words for messages, such as ``"backbone"``.
        base: Class that all members derive from.
        package: Import path of the package whose modules hold our own members. Third parties add
            members through the entry-point group of the same name.
    """

    def __init__(self, kind: str, base: type[T], package: str) -> None:
        self.kind = kind
        self.base = base
        self.package = package
        self._members: dict[str, type[T]] = {}
        self._origins: dict[str, str] = {}
        self._is_loaded = False
        self._origin = package.partition(".")[0]

    def register(self, name: str) -> Callable[[C], C]:
        """Return a decorator that adds a class under `name` and hands it back unchanged."""

        def decorate(cls: C) -> C:
            self.add(name, cls)
            return cls

        return decorate

    def add(self, name: str, cls: type[T]) -> None:
        """Add `cls` under `name`.

        Raises:
            ValueError: If the name is not snake case or belongs to another class.
            TypeError: If the class does not derive from the base of this registry.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{self.kind} name {name!r} must be snake case, such as 'my_net'")
        if not (isinstance(cls, type) and issubclass(cls, self.base)):
            raise TypeError(f"{self.kind} {name!r}: {cls!r} does not derive from {self.base}")
        if name in self._members:
            owner = _qualified(self._members[name].__mro__[1])
            raise ValueError(f"{self.kind} name {name!r} is taken by {owner}; choose another name")
        self._members[name] = self._alias(name, cls)
        self._origins[name] = self._origin

    def _alias(self, name: str, cls: type[T]) -> type[T]:
        members = {"__module__": f"{self.package}.registry", "__doc__": cls.__doc__}
        return types.new_class(name, (cls,), exec_body=lambda namespace: namespace.update(members))

    def get(self, name: str) -> type[T]:
        """Return the class called `name`; also serves as a module's ``__getattr__``.

        Raises:
            UnknownNameError: If there is none. It is an `AttributeError` and a `LookupError`.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._members:
            self.load()
        if name not in self._members:
            raise UnknownNameError(f"unknown {self.kind} {name!r}{self.hint(name)}")
        return self._members[name]

    def names(self) -> list[str]:
        """Return all names in alphabetical order."""
        self.load()
        return sorted(self._members)

    def origin(self, name: str) -> str:
        """Return the distribution and version that brought `name`."""
        self.get(name)
        return self._origins[name]

    def implementation(self, name: str) -> type[T]:
        """Return the class that was registered, of which the alias called `name` is a subclass."""
        implementation: type[T] = self.get(name).__mro__[1]
        return implementation

    def hint(self, name: str) -> str:
        """Return the end of an error message: close matches and the full list."""
        close = difflib.get_close_matches(name, self.names(), n=2, cutoff=0.6)
        question = f"; did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
        return f"{question} (registered: {', '.join(self.names())})"

    def load(self) -> None:
        """Import the modules of our package and the plugins of others, once.

        A plugin that cannot be imported is named in a warning and left out.
        """
        if self._is_loaded:
            return
        self._is_loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for entry in entry_points(group=self.package):
            self._load_plugin(entry)

    def _load_plugin(self, entry: EntryPoint) -> None:
        distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        self._origin = distribution
        try:
            self.add(entry.name, entry.load())
        except Exception as error:  # noqa: BLE001 - whatever a plugin does, others must work
            warnings.warn(
                f"{self.kind} plugin {entry.name!r} of {distribution} is left out: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )
        finally:
            self._origin = self.package.partition(".")[0]


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
