"""The pages of the documentation and their blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / ".github" / "docs"
PAGES = (
    ROOT / "README.md",
    ROOT / ".github" / "CONTRIBUTING.md",
    *sorted(path for path in DOCS.rglob("*.md")),
)
_BLOCK = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^ *(?P=fence)$", re.M | re.S
)
_NAMED = re.compile(r"^(?:#|//) ([\w./-]+\.(?:yaml|yml|py|toml|json|csv|sh))\s*$")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Args:
        page: File name of the page.
        line: Line of its fence, from 1.
        language: What follows the fence, such as ``bash``.
        text: What is in it.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the block is to be saved as, if its first line is a comment with a name."""
        found = _NAMED.match(self.text.partition("\n")[0])
        return found[1] if found else None


def blocks(text: str, page: str) -> list[Block]:
    """Return the blocks of code of a page, in order."""
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["language"].strip(),
            re.sub(f"^{found['indent']}", "", found["text"], flags=re.M),
        )
        for found in _BLOCK.finditer(text)
    ]


def page_name(page: Path) -> str:
    return (
        page.name
        if page.name in ("README.md", "CONTRIBUTING.md")
        else page.relative_to(DOCS).as_posix()
    )


def page_blocks(page: Path) -> list[Block]:
    return blocks(page.read_text(encoding="utf-8"), page_name(page))


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in page_blocks(page)]
