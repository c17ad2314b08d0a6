"""The page: whole, private, bounded, and written whatever a run left behind."""

import hashlib
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from brainmvp_lightning.reports.page import Report, make_report
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import Run, read_run
from tests.reports.folders import (
    CASES,
    write_classification,
    write_finetuning,
    write_pretraining,
)

VOID = {"meta", "img", "br", "input"}


class Reader(HTMLParser):
    """Checks that every element that opens closes, and collects what matters."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.unnamed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID and tag not in ("line", "rect", "circle", "polyline"):
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"] or "")
        if "src" in values or (tag in ("a", "link") and not (values["href"] or "").startswith("#")):
            self.sources.append(values.get("src") or values.get("href") or "")
        if tag == "img" and not values.get("alt"):
            self.unnamed.append(tag)
        if tag in ("svg", "canvas") and not values.get("aria-label"):
            self.unnamed.append(tag)
        if tag in ("input", "select") and "label" not in self.open:
            self.unnamed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing opens."""

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect", "circle", "polyline"):
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        read_run(write_pretraining(folder / "pretrain"), "pretrain"),
        read_run(write_finetuning(folder / "first"), "first"),
        read_run(write_finetuning(folder / "second", shift=0.05), "second"),
        read_run(write_classification(folder / "classes"), "classes"),
    ]


@pytest.fixture(scope="module")
def report(runs: list[Run]) -> Report:
    return make_report(runs, Privacy(), max_mb=25, title="A <b> & c")


def test_the_page_parses_fetches_nothing_and_names_its_controls(report: Report) -> None:
    reader = Reader()
    reader.feed(report.html)
    reader.close()
    assert not reader.open
    assert not reader.unnamed
    assert len(set(reader.ids)) == len(reader.ids)
    assert reader.sources
    assert all(source.startswith("data:image/webp;base64,") for source in reader.sources)
    assert "default-src 'none'" in report.html
    assert "A &lt;b&gt; &amp; c" in report.html


def test_the_page_has_all_parts(report: Report) -> None:
    for key in ("summary", "curves", "templates", "pictures", "cases", "viewer", "differences"):
        assert f'id="{key}' in report.html, key
    assert report.html.count("<img") == 3 + 2 + 2  # templates, reconstructions, worst cases
    for words in ("pretrain: template t1", "first: case 1", "7 train", "0123456789, with changes"):
        assert words in report.html, words
    assert '<b class="bad">1</b>' in report.html  # a miss
    assert "Redistribution and use in source" in report.html  # the licence of what is inside


def test_what_was_never_learned_is_named(report: Report) -> None:
    assert report.faults == ["pretrain: templates of mra are one grey: none was ever learned"]
    assert "one grey" in report.html


def test_no_id_path_or_name_is_in_the_bytes(report: Report, runs: list[Run]) -> None:
    content = report.html.encode()
    folder = str(runs[0].folder.parent).encode()
    for secret in (*(case.encode() for case in CASES), b"alice", b"secret", folder, b"/home/"):
        assert secret not in content, secret
    shown = make_report(
        runs, Privacy(with_ids=True, with_paths=True), max_mb=25, title="t"
    ).html.encode()
    assert b"sub-beta" in shown
    assert b"/home/alice/secret/cache" in shown


def test_configurations_are_compared_among_equals(runs: list[Run], tmp_path: Path) -> None:
    other = write_finetuning(tmp_path / "third")
    text = (other / "config.yaml").read_text().replace("max_steps: 20", "max_steps: 99")
    (other / "config.yaml").write_text(text)
    page = make_report([*runs[:2], read_run(other, "third")], Privacy(), max_mb=9, title="t").html
    start = page.index("key that differs")
    table = page[start : page.index("</table>", start)]
    assert "<code>trainer.max_steps</code>" in table
    assert ">20<" in table
    assert ">99<" in table
    assert "pretrain" not in table
    assert table.count("<code>") == 1


@pytest.mark.parametrize("max_mb", [0.2, 1.1, 1.5])
def test_the_page_keeps_its_bound_and_names_what_it_lacks(runs: list[Run], max_mb: float) -> None:
    report = make_report(runs, Privacy(), max_mb=max_mb, title="t")
    assert len(report.html.encode()) <= max_mb * 1e6
    assert bool(report.left_out) == (max_mb < 1.5)
    for what in report.left_out:
        assert what in report.html
    if max_mb == 0.2:
        assert "volume of pretrain: template t1" in report.left_out
        assert 'id="viewer"' not in report.html


def test_the_viewer_is_the_published_one() -> None:
    content = (files("brainmvp_lightning.reports") / "vendor" / "niivue.umd.js").read_bytes()
    digest = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"  # of npm's 0.69.0
    assert hashlib.sha256(content).hexdigest() == digest


def test_a_bound_below_the_text_is_refused(runs: list[Run]) -> None:
    with pytest.raises(ValueError, match=r"alone need 0\.\d MB; raise --max-mb 0\.01"):
        make_report(runs, Privacy(), max_mb=0.01, title="t")
