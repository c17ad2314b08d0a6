"""Small pieces of HTML."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table; cells are HTML, the first one of each row is its name."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def picture(content: str, text: str, extra: str = "") -> str:
    """Return an image element for a WebP file in base64."""
    return f'<img alt="{escape(text)}" {extra} src="data:image/webp;base64,{content}">'


def section(key: str, title: str, body: str) -> str:
    """Return a part of the page, or nothing without a body."""
    if not body:
        return ""
    head = f'<h2 id="h-{key}">{title}</h2>'
    return f'<section id="{key}" aria-labelledby="h-{key}">{head}{body}</section>'


def script(content: str) -> str:
    """Return a script element for one of our own files."""
    if "</script" in content.lower():
        raise ValueError("a script must not hold the end of a script element")
    return f"<script>{content}</script>"


def data_block(key: str, kind: str, content: bytes | str) -> str:
    """Return an element that holds data: JSON as text, bytes as base64."""
    text = content if isinstance(content, str) else base64.b64encode(content).decode()
    return f'<script type="{kind}" id="{key}">{text}</script>'


def swatch(colour: int) -> str:
    """Return a small square of a run's colour."""
    return f'<i class="swatch c{colour % 8}" aria-hidden="true"></i>'


def score(value: float | None, digits: int = 3) -> str:
    """Return a number, or nothing where there is none."""
    return "" if value is None or value != value else f"{value:.{digits}f}"
