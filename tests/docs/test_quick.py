"""Some blocks of pages, really run, that are quick enough for each change; the rest is slow."""

import shlex
from pathlib import Path

import pytest

from brainmvp_lightning.cli import main
from brainmvp_lightning.volumes.cache import Cache
from tests.docs.pages import DOCS, ROOT, page_blocks
from tests.docs.shrinking import (
    kind_of,
    shrink_preparation,
    shrink_run,
    shrink_sweep,
    write_small_configs,
)
from tests.docs.world import here, write_ixi


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped files, made small."""
    write_small_configs(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_on_data_prepares_a_cohort(folder: Path) -> None:
    write_ixi(folder / "data/IXI")
    blocks = [block.text for block in page_blocks(DOCS / "data.md") if block.language == "bash"]
    assert main(shlex.split(here(blocks[0]))[1:]) == 0
    assert len(Cache.open("cache/ixi").studies) == 4


def test_parts_are_listed_as_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert "brainmvp list" in (ROOT / "README.md").read_text()
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("unet3d", "grid_blocks", "reconstruction", "brainmvp"))


def test_shipped_files_are_made_small_by_what_they_are() -> None:
    run = {"trainer": {}, "model": {}, "data": {}}
    assert kind_of(run) is shrink_run
    assert kind_of({"source": {}, "recipe": {}}) is shrink_preparation
    assert kind_of({"program": "brainmvp", "parameters": {}}) is shrink_sweep
    assert kind_of({"colour": "red"}) is None


def test_small_files_ask_for_little(folder: Path) -> None:
    text = (folder / "configs/pretrain/brainmvp_uniformer.yaml").read_text()
    assert "uniformer_tiny" in text
    assert "1500" not in text
