"""The site of the documentation: ``make docs`` builds it into ``build/docs``.

Pages are read on GitHub, too. Links from them to files of the repository that are pages of the
site as well lead to these here.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]

project = "BrainMVP-Lightning"
author = "The BrainMVP-Lightning developers"
copyright = author
_version = (ROOT / "brainmvp_lightning" / "__init__.py").read_text(encoding="utf-8")
release = re.findall(r'__version__ = "(.+)"', _version)[0]

extensions = ["myst_parser"]
myst_heading_anchors = 3  # as on GitHub: links such as data.md#4-stream
nitpicky = True

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sourcelink = False

# Files outside of this folder that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
}
_LINK = re.compile(rf"\]\((?:\.\./)+(?:\.github/)?({'|'.join(map(re.escape, PAGES))})(#[\w-]+)?\)")


def lead_to_pages(_: Sphinx, name: str, text: list[str]) -> None:
    """Lead links to these files to their pages."""
    up = "../" * name.count("/")
    text[0] = _LINK.sub(lambda link: f"]({up}{PAGES[link[1]]}{link[2] or ''})", text[0])


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("source-read", lead_to_pages)
