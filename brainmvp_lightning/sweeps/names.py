"""Hints at what somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``"; did you mean 'x'?"`` with the nearest names, nothing if none is near."""
    close = difflib.get_close_matches(word, list(known), 2, cutoff)
    return f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
