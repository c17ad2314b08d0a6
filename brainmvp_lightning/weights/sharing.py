"""What of a configuration may go to others: everything but where things lie on a machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_ACCOUNT = re.compile(r"[\w.+-]+@[\w.-]+:(?=[/~])")  # "anna@host:" before a path
_ABSOLUTE = re.compile(
    r"(?:(?<![\w./\\~])|(?<!\w-[A-Z])(?<=-[A-Z]))"  # where a word begins, or after -I of a compiler
    r"(?:~[\w.-]*/|/(?=[^\s/])|[A-Za-z]:[\\/])"
    r"[^\s\"',;:()\[\]{}]*"
)


def shareable(value: Any, *, start: Path | None = None) -> Any:  # noqa: ANN401 - any plain value
    """Return a configuration as plain values, with paths that tell nothing of a machine.

    A path inside the working directory becomes relative to it, any other absolute one its last
    part; so do addresses such as ``s3://bucket/folder``, without user names and keys. Objects
    become the name of their class.

    Args:
        value: Mappings, sequences and values of a configuration.
        start: The working directory.
    """
    start = start or Path.cwd()
    if isinstance(value, Mapping) or hasattr(value, "items"):
        inner = {str(key): item for key, item in value.items() if key != "_instantiator"}
        return {_text(key, start): shareable(item, start=start) for key, item in inner.items()}
    if isinstance(value, (list, tuple, set)):
        return [shareable(item, start=start) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, Path)):
        return _text(str(value), start)
    return type(value).__name__


def _text(text: str, start: Path) -> str:
    text = _ACCOUNT.sub("", text)
    if _is_path(text):
        return _shorten(text, start)
    return _ABSOLUTE.sub(lambda found: _shorten(found[0], start), _ADDRESS.sub(_last, text))


def _is_path(text: str) -> bool:
    """Tell whether a text is one path from its first to its last letter, spaces and all."""
    absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return "\n" not in text and (absolute or text.startswith("~") or ".." in Path(text).parts)


def _shorten(text: str, start: Path) -> str:
    path = Path(text)
    if path.is_absolute() and path.is_relative_to(start) and ".." not in path.parts:
        return str(path.relative_to(start))
    parts = [part for part in re.split(r"[\\/]", text) if part not in ("", ".")]
    is_home = len(parts) == 1 and text.startswith("~")
    is_home |= (len(parts) > 1 and parts[-2] in ("home", "Users")) or path == Path.home()
    return "." if not parts or is_home or parts[-1] in ("..", "~") else parts[-1]


def _last(found: re.Match[str]) -> str:
    try:
        path = urlsplit(found[0]).path.partition(";")[0]
    except ValueError:  # no address, whatever it looks like
        return ""
    return "" if "@" in path else path.rstrip("/").rpartition("/")[2]
