"""Modules of parts that no distribution brings: the user names them, and they register their parts.

``brainmvp --import my_parts fit ...`` puts the names into the environment, so that all processes
which a command starts, and those that these start, import the same modules.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "BRAINMVP_PLUGINS"
"""Variable of the environment that holds the names, with commas between."""


class PluginError(ImportError):
    """A module that the user named cannot be imported; one sentence with the reason."""


@contextmanager
def naming_plugins(modules: Iterable[str]) -> Iterator[None]:
    """Add modules to those that this process and its children import, and import them.

    Raises:
        PluginError: If one cannot be imported.
    """
    before = os.environ.get(VARIABLE)
    names = list(dict.fromkeys([*named_plugins(), *modules]))
    if names:
        os.environ[VARIABLE] = ",".join(names)
    try:
        import_plugins()
        yield
    finally:
        if before is not None:
            os.environ[VARIABLE] = before
        else:
            os.environ.pop(VARIABLE, None)


def named_plugins() -> list[str]:
    """Return the modules that the user named."""
    words = (word.strip() for word in os.environ.get(VARIABLE, "").split(","))
    return [word for word in words if word]


def import_plugins() -> None:
    """Import the modules that the user named; they are also looked for in the current folder.

    Raises:
        PluginError: If one cannot be imported.
    """
    modules = named_plugins()
    here = str(Path.cwd())
    if modules and not {here, ""} & set(sys.path):
        sys.path.append(here)  # last, so that no file there takes the place of a package
    for module in modules:
        _import(module)


def _import(module: str) -> None:
    if not all(map(str.isidentifier, module.split("."))) or module.endswith(".py"):
        raise PluginError(
            f"{module!r} is not the name of a module{_suggestion(module)}; name it as Python's "
            "import does, without folder and '.py'"
        )
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise PluginError(_reason(module, error)) from error


def _reason(module: str, error: BaseException) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module}.".startswith(f"{missing}."):
        return (
            f"there is no module {missing!r} in {Path.cwd()} or among what is installed"
            f"{_suggestion(module)}; start in its folder, or install it"
        )
    words = " ".join(str(error).split())
    return f"module {module!r} cannot be imported{_place(error)}: {type(error).__name__}: {words}"


def _suggestion(name: str) -> str:
    stem = Path(name).name.removesuffix(".py")
    near = [path.stem for path in Path.cwd().glob("*.py")]
    near += [path.parent.name for path in Path.cwd().glob("*/__init__.py")]
    close = difflib.get_close_matches(stem, near, n=2)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):  # tells its place itself
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    last = next((f for f in reversed(frames) if f.filename != __file__), None)
    return f" ({Path(last.filename).name}, line {last.lineno})" if last else ""
