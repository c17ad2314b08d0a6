"""Names for exchangeable parts: one word in YAML stands for a real, importable class."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from brainmvp_lightning.registry.modules import import_plugins

T = TypeVar("T")
C = TypeVar("C", bound=type)

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OURS = __name__.partition(".")[0]


class UnknownNameError(AttributeError, LookupError):
    """A name that no registered class has; the message lists the nearest valid names."""


@dataclass(frozen=True)
class Plugin:
    """A part that is not ours, used or left out."""

    kind: str
    """What it is, such as ``"backbone"``."""
    name: str
    source: str
    """Distribution that brings it; for a part without entry point, the module it was imported by,
    the first word of its path."""
    version: str
    """Version of the source; empty if it has none."""
    value: str
    """Where the class is, such as ``acme_nets:TinyConv``."""
    fault: str = ""
    """Why it was left out; empty if it was not."""

    @property
    def origin(self) -> str:
        """Source and version in words."""
        return f"{self.source} {self.version or '(no version)'}"


class Registry(Generic[T]):
    """Classes of one kind, by snake-case name.

    A registered class gets an alias subclass called by its name in ``<package>.registry``, so that
    jsonargparse, pickle and saved configurations find it without knowing about registries.

    Args:
        kind: What the classes are, in words for messages, such as ``"backbone"``.
        base: Class that all members derive from.
        package: Import path of the package whose modules hold our own members. Third parties add
            members through the entry-point group of the same name, or by the decorator in a module
            that the user imports (`modules`).
    """

    def __init__(self, kind: str, base: type[T], package: str) -> None:
        self.kind = kind
        self.base = base
        self.package = package
        self._members: dict[str, type[T]] = {}
        self._origins: dict[str, Plugin] = {}  # of members that are not ours
        self._left_out: list[Plugin] = []
        self._has_own = False
        self._is_loaded = False

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
            TypeError: If the class does not derive from the base of this registry, or leaves out
                what the base asks for.
        """
        self._check(name, cls)
        is_ours = cls.__module__.partition(".")[0] == _OURS
        if not is_ours:
            self._load_own()  # our names are taken first, whatever is imported first
        if name in self._members:
            owner = _qualified(self._members[name].__mro__[1])
            raise ValueError(f"{self.kind} name {name!r} is taken by {owner}; choose another name")
        self._members[name] = self._alias(name, cls)
        if not is_ours:
            self._origins[name] = _imported(self.kind, name, cls)

    def _check(self, name: str, cls: Any) -> None:  # noqa: ANN401 - whatever a plugin hands over
        if not _NAME.fullmatch(name):
            raise ValueError(f"{self.kind} name {name!r} must be snake case, such as 'my_net'")
        what = f"{self.kind} {name!r}"
        if not isinstance(cls, type):
            raise TypeError(f"{what} is no class but {cls!r}; name a subclass of {self._base()}")
        if not issubclass(cls, self.base):
            raise TypeError(f"{what}: {_qualified(cls)} does not derive from {self._base()}")
        if inspect.isabstract(cls):
            lacking = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
            raise TypeError(f"{what}: {_qualified(cls)} lacks {lacking}; see {self._base()}")

    def _base(self) -> str:
        return _qualified(self.base)

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
            hint = self.hint(name)
            if "did you mean" not in hint:
                hint += "; a part of others needs its package, or --import with its module"
            raise UnknownNameError(f"unknown {self.kind} {name!r}{hint}")
        return self._members[name]

    def names(self) -> list[str]:
        """Return all names in alphabetical order."""
        self.load()
        return sorted(self._members)

    def origin(self, name: str) -> str:
        """Return the distribution and version that brought `name`."""
        self.get(name)
        return self._origins[name].origin if name in self._origins else _OURS

    def plugins(self) -> list[Plugin]:
        """Return the parts that are not ours: those that can be named, then those left out."""
        self.load()
        return [*(self._origins[name] for name in sorted(self._origins)), *self._left_out]

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
        """Import the modules of our package, the plugins of others and what the user named, once.

        A plugin that cannot be used is named in a warning and left out; see `plugins`.

        Raises:
            PluginError: If a module that the user named cannot be imported.
        """
        if self._is_loaded:
            return
        self._load_own()
        self._is_loaded = True
        for entry in entry_points(group=self.package):
            self._load_plugin(entry)
        import_plugins()

    def _load_own(self) -> None:
        if self._has_own or self._is_loaded:
            return
        self._has_own = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")

    def _load_plugin(self, entry: EntryPoint) -> None:
        name, version = (
            (entry.dist.name, entry.dist.version)
            if entry.dist
            else (entry.module.partition(".")[0], "")
        )
        plugin = Plugin(self.kind, entry.name, name, version, entry.value)
        try:
            cls = entry.load()
            known = self._members.get(entry.name)
            if known is None or known.__mro__[1] is not cls:  # it may bear our decorator, too
                self.add(entry.name, cls)
            self._origins[entry.name] = plugin
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it does, others must work
            fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._left_out.append(replace(plugin, fault=fault))
            warnings.warn(
                f"{self.kind} plugin {entry.name!r} of {plugin.origin} is left out: {fault}",
                stacklevel=2,
            )


def foreign_distributions(*registries: Registry[Any]) -> dict[str, str]:
    """Return the version of each distribution, other than ours, that brings parts in use.

    Parts that were left out do not count. A module that was imported without being part of a
    distribution has its own name, and its ``__version__`` or an empty word.

    Args:
        registries: Kinds of parts that count, such as ``BACKBONES, MASKING, HEADS, METHODS``.
    """
    plugins = [plugin for registry in registries for plugin in registry.plugins()]
    found = {plugin.source: plugin.version for plugin in plugins if not plugin.fault}
    return dict(sorted(found.items()))


def _imported(kind: str, name: str, cls: type) -> Plugin:
    source = cls.__module__.partition(".")[0]
    version = getattr(sys.modules.get(source), "__version__", "")
    return Plugin(kind, name, source, str(version), f"{cls.__module__}:{cls.__qualname__}")


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
