import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from brainmvp_lightning.doctor.diagnosis import Diagnosis, Settings, diagnose
from brainmvp_lightning.doctor.page import make_page
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from tests.doctor.cohort import broken_table, clean_table

VOID = {"meta", "img", "br", "link"}
SETTINGS = Settings(recipe=Recipe(spacing_mm=6), workers=1, num_timed=0)


class Balanced(HTMLParser):
    """Checks that every element that opens closes, and collects the sources of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.pictures += [value or "" for name, value in attrs if (tag, name) == ("img", "src")]
        assert not [name for name, _ in attrs if name in ("href", "srcset") or name[:2] == "on"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


def look(table: Path) -> Diagnosis:
    manifest = Manifest.read(table, ModalityVocabulary())
    return diagnose(manifest, SETTINGS, source="a <b> & c")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Diagnosis, str]:
    found = look(broken_table(tmp_path_factory.mktemp("broken")))
    return found, make_page(found.report, found.studies)


def test_the_page_parses_and_holds_its_pictures(broken: tuple[Diagnosis, str]) -> None:
    found = read(broken[1])
    assert len(found.pictures) == 13  # 12 studies and the histograms
    for picture in found.pictures:
        head, _, content = picture.partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(content, validate=True).startswith(b"\x89PNG")


def test_the_page_loads_nothing_and_runs_nothing(broken: tuple[Diagnosis, str]) -> None:
    page = broken[1]
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r'src="data:[^"]*"', "", page))
    assert not read(page).tags & {"script", "link", "iframe", "object"}


def test_the_page_says_every_finding_and_escapes_names(broken: tuple[Diagnosis, str]) -> None:
    diagnosis, page = broken
    text = re.sub(r"<[^>]+>", " ", page)
    assert "a &lt;b&gt; &amp; c" in text
    for finding in diagnosis.report.findings:
        plain = text.replace("&#x27;", "'")
        assert finding.sentence in plain
        assert finding.fix in plain


def test_studies_with_errors_are_shown_first(broken: tuple[Diagnosis, str]) -> None:
    shown = re.findall(r"<figcaption><b>toy_(\w+)</b>", broken[1])
    assert set(shown[:10]) == {
        "cut", "nan", "flat", "many", "away", "gone", "few", "leak", "twin", "four",
    }  # fmt: skip
    assert shown[10] == "turned"


def test_a_clean_cohort_and_an_unusable_one_have_a_page(tmp_path: Path) -> None:
    found = look(clean_table(tmp_path))
    page = make_page(found.report, found.studies)
    assert len(read(page).pictures) == 4
    assert "the cohort is clean" in page
    for path in tmp_path.rglob("*.nii.gz"):
        path.write_bytes(b"")
    found = look(tmp_path / "scans.csv")
    assert len(read(make_page(found.report, found.studies)).pictures) == 3
