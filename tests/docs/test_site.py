"""The site builds without warnings, leads nowhere that is not there, and needs no network."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import DOCS, ROOT

LOADED = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src")}


class References(HTMLParser):
    """Collects what a page loads, where it leads, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) in LOADED and value:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.linked.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def read(page: Path) -> References:
    found = References()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = ["--quiet", "--fail-on-warning", "--keep-going", "--fresh-env"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, str(DOCS), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_each_page_is_in_the_site_and_in_its_menu(site: Path) -> None:
    menu = {unquote(link) for link in read(site / "index.html").linked}
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / name).is_file()
        assert name in menu or name == "index.html"


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        outside = [link for link in read(page).loaded if urlsplit(link).scheme not in ("", "data")]
        assert outside == [], page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert "url(http" not in text.replace('"', "").replace("'", ""), sheet
        assert "@import" not in text, sheet


def test_links_and_pictures_of_the_site_are_there(site: Path) -> None:
    pages = {page: read(page) for page in site.rglob("*.html")}
    for page, found in pages.items():
        for link in (*found.loaded, *found.linked):
            parts = urlsplit(link)
            if parts.scheme or link in ("#",):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), (page.name, link)
            if parts.fragment and target in pages:
                assert parts.fragment in pages[target].anchors, (page.name, link)


def test_pages_lead_to_those_of_the_repository(site: Path) -> None:
    assert "project/changelog.html" in read(site / "index.html").linked
    assert "project/contributing.html" in read(site / "index.html").linked
    assert "Unreleased" in (site / "project" / "changelog.html").read_text(encoding="utf-8")
