"""What a page may say: no absolute paths, names of machines or people, or ids of cases."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath

# An absolute path on any system, a home folder, or an address; not "train/dice" or "../x".
_PATH = re.compile(
    r"""(?:[A-Za-z][\w+.-]*:/{2,3}|(?<![\w.~/\\<-])(?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*/|/(?=[\w.~])))"""
    r"""[^\s'",;:)<>\]}]*"""
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
        if re.match(r"(/|~|[A-Za-z]:[\\/]|\\\\)", text) and "\n" not in text:
            return _shorten(text)  # a path as a whole, which may hold spaces
        text = _PATH.sub(lambda found: _shorten(found.group()), text)
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


def _shorten(path: str) -> str:
    """Return the last part of a path, unless it is somebody's folder."""
    without_scheme = re.sub(r"^[A-Za-z][\w+.-]*:/{2,3}|^[A-Za-z]:", "", path).replace("\\", "/")
    plain = PurePosixPath("/" + without_scheme.strip("/"))
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
