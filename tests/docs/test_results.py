"""The page of results quotes the files of results, and the page of differences the preset."""

import re
from typing import Any

import pytest
import yaml

from tests.docs.pages import DOCS, ROOT
from tests.docs.result_tables import PAGE, RESULTS, TABLES, filled, named, table

PRESET = ROOT / "configs" / "pretrain" / "official.yaml"


def test_tables_are_those_of_the_files() -> None:
    page = PAGE.read_text()
    assert filled(page) == page, "run: python -m tests.docs.result_tables"


def test_each_file_of_results_has_a_table() -> None:
    there = {path.stem for path in RESULTS.glob("*.json")}
    assert set(named(PAGE.read_text())) == there == set(TABLES)


def test_a_table_is_markdown() -> None:
    assert table(("a", "b"), (1, 2)) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def named_options() -> list[tuple[str, Any]]:
    """Return the options, and their values, in the table of the preset."""
    page = (DOCS / "differences.md").read_text()
    section = page[page.index("Pre-training.") : page.index("Fine-tuning, ")]
    cells = re.findall(r"\| ([^|]+) \|$", section, re.MULTILINE)
    pairs = [pair for cell in cells for pair in re.findall(r"`([\w.]+): ([^`]+)`", cell)]
    return [(key, yaml.safe_load(value)) for key, value in pairs]


@pytest.mark.parametrize(("key", "value"), named_options(), ids=lambda x: str(x))
def test_the_preset_sets_what_the_page_of_differences_says(key: str, value: Any) -> None:
    def find(content: Any, path: list[str]) -> Any:
        if not isinstance(content, dict):
            return None
        if path[0] in content:
            inner = content[path[0]]
            if len(path) > 1:
                return find(inner, path[1:])
            named = isinstance(inner, dict) and set(inner) == {"class_path", "init_args"}
            return inner["class_path"] if named else inner
        return next((x for x in (find(v, path) for v in content.values()) if x is not None), None)

    assert find(yaml.safe_load(PRESET.read_text()), key.split(".")) == value


def test_the_table_of_the_preset_is_read() -> None:
    assert len(named_options()) >= 15
