"""Hints at what somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def plain(name: str) -> str:
    """Return a dotted name without the levels that may be left out."""
    return ".".join(word for word in name.split(".") if word not in ("init_args", "class_path"))


def is_inside(inner: str, outer: str) -> bool:
    """Tell whether an option belongs to what another option names."""
    return plain(inner).startswith(f"{plain(outer)}.")


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``"; did you mean 'x'?"`` with the nearest names, nothing if none is near."""
    close = difflib.get_close_matches(word, list(known), 2, cutoff)
    return f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
