"""Links and pictures of all Markdown files of the repository lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)>\s]+)>?[^)]*\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def markdown_files() -> list[Path]:
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).exists()]


def anchors(text: str) -> set[str]:
    """Return the anchors of headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    plain = (re.sub(r"[`*]", "", heading).strip().lower() for heading in _HEADING.findall(prose))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def dead_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    dead = []
    for link in _LINK.findall(re.sub(r"`[^`]+`", "", text)):
        if re.match(r"(https?|mailto):", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        is_there = target.exists()
        if is_there and anchor:
            is_there = anchor in anchors(target.read_text())
        if not is_there:
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A page, `really`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-page-really) [c](there.md#gone) ![d](gone.png)\n"
        "[e](https://example.org) [f](#g) `[h](i)`\n```\n[j](k)\n```\n## G\n"
    )
    assert dead_links(page) == ["there.md#gone", "gone.png"]
