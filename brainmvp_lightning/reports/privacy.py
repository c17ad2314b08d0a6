"""What a page may say: no absolute paths, names of machines or people, or ids of cases."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from urllib.parse import urlsplit

# "alice@host:" before a path.
_ACCOUNT = re.compile(r"[\w.+-]+@[\w.-]+:(?=[/~])")
# An address, which may hold a password, up to the punctuation behind it.
_ADDRESS = r"""[A-Za-z][\w+.-]*://\S+?(?=[,;:.)\]}>'"]*(?:\s|$))"""
# An absolute path on any system or a home folder; not "train/dice", "../x" or "</p>".
_PATH = re.compile(
    rf"""(?P<address>{_ADDRESS})"""
    r"""|(?<![\w.~/\\<])(?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*/|/(?=[\w.~]))[^\s'",;:)<>\]}]*"""
    r"""|(?<!\w-[A-Z])(?<=-[A-Z])/(?=[\w.~])[^\s'",;:)<>\]}]*"""  # such as -I/usr/include
)
_HOMES = ("home", "Users", "user", "users")
_PLAIN = ("root", "user", "data", "localhost", "admin", "ubuntu")  # words that mean other things


@dataclass(frozen=True)
class Privacy:
    """Makes texts fit to be shown.

    Attributes:
        with_ids: Whether cases are called by their ids.
        with_paths: Whether paths, machines and people are left as they are.
        cases: Number of each case that has been named so far.
    """

    with_ids: bool = False
    with_paths: bool = False
    cases: dict[str, int] = field(default_factory=dict)

    def number_cases(self, studies: Iterable[str]) -> None:
        """Give each study a number, the same in all runs of a page."""
        for number, study in enumerate(sorted(set(studies)), start=1):
            self.cases[study] = number

    def case(self, study: str) -> str:
        """Return what a case is called."""
        if self.with_ids:
            return study
        number = self.cases.setdefault(study, len(self.cases) + 1)
        return f"case {number}"

    def text(self, text: str) -> str:
        """Return a text in which paths are cut to their last part and names left out."""
        if self.with_paths:
            return text
        text = _ACCOUNT.sub("", text)
        if re.match(r"(/|~|[A-Za-z]:[\\/]|\\\\)", text) and "\n" not in text:
            return _shorten(text)  # a path as a whole, which may hold spaces
        text = _PATH.sub(_shorten_found, text)
        for name in _own_names():
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "…", text)
        return text


def safe_parts(path: PurePath) -> list[str]:
    """Return the parts of a path that name no person, outermost first."""
    parts = [part for part in path.parts if part not in (path.anchor, "..", ".")]
    for home in _HOMES:
        if home in parts[:-1]:
            parts = parts[parts.index(home) + 2 :]
    own = _own_names()
    return [part for part in parts if part not in own and not part.startswith("~")]


def _shorten_found(found: re.Match[str]) -> str:
    if found["address"] is None:
        return _shorten(found[0])
    try:
        path = urlsplit(found[0]).path.partition(";")[0]
    except ValueError:  # no address, whatever it looks like
        return "…"
    return "…" if "@" in path else _shorten(f"/host{path}")


def _shorten(path: str) -> str:
    """Return the last part of a path, unless it is somebody's folder."""
    without_drive = re.sub(r"^[A-Za-z]:", "", path).replace("\\", "/")
    plain = PurePosixPath("/" + without_drive.strip("/"))
    parts = safe_parts(plain)
    return f"…/{parts[-1]}" if parts and len(plain.parts) > 2 else "…"


def _own_names() -> list[str]:
    """Return the names of this user and machine, if they are no plain words."""
    host = socket.gethostname()
    names = {host, host.partition(".")[0]}
    try:
        names.add(getpass.getuser())
    except (OSError, KeyError):  # a container may have a user without a name
        names.discard("")
    return sorted((n for n in names if len(n) > 3 and n not in _PLAIN), key=len, reverse=True)
