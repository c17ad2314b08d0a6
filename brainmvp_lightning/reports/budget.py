"""How large a page may become, and what is left out to keep it there."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

RESERVE = 20_000  # bytes for the frame of the page around what was counted
_AROUND = 500  # bytes of markup around a picture or volume


@dataclass
class Budget:
    """Counts bytes of a page; what matters most must be taken first.

    Attributes:
        most: Bytes that the page may have.
        spent: Bytes taken until now.
        left_out: What did not fit.
    """

    most: int
    spent: int = RESERVE
    left_out: list[str] = field(default_factory=list)

    def spend(self, content: str) -> str:
        """Count a text that the page must have, and return it."""
        self.spent += len(content.encode())
        return content

    def fits(self, content: str) -> bool:
        """Tell whether a text still fits."""
        return self.spent + len(content.encode()) <= self.most

    def take(self, content: bytes, what: str) -> str | None:
        """Return bytes as base64 if they fit; else None, and remember what was left out."""
        text = base64.b64encode(content).decode()
        self.spent += _AROUND + len(what.encode())
        if not self.fits(text):
            self.left_out.append(what)
            return None
        return self.spend(text)
