"""Names that are near to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CUTOFF = 0.65


def nearest(word: str, names: Iterable[str], most: int = 2, cutoff: float = CUTOFF) -> list[str]:
    """Return the names that `word` may stand for, the likeliest first.

    A beginning of a name counts, and so does a part of it, such as ``sed`` for
    ``seed_everything``.
    """
    scores = {name: _likeness(word.lower(), name.lower()) for name in dict.fromkeys(names)}
    close = sorted((name for name in scores if scores[name] >= cutoff), key=lambda n: -scores[n])
    best = scores[close[0]] if close else 0.0
    return [name for name in close[:most] if scores[name] >= best - 0.15]


def _likeness(word: str, name: str) -> float:
    if word == name:
        return 1.0
    whole = difflib.SequenceMatcher(None, word, name).ratio()
    if len(word) > 2 and name.startswith(word):
        return max(whole, 0.95)
    parts = [part for part in name.split("_") if len(part) > 2]
    best = max((difflib.SequenceMatcher(None, word, part).ratio() for part in parts), default=0.0)
    return max(whole, 0.85 * best)


def either(names: Iterable[str]) -> str:
    """Return names in quotes, as alternatives."""
    return " or ".join(repr(name) for name in names)


def question(word: str, names: Iterable[str]) -> str:
    """Return the end of a message that asks whether a near name was meant; or nothing."""
    close = nearest(word, names)
    return f"; did you mean {either(close)}?" if close else ""
