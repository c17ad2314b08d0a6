"""The labelled cohort, as a cache."""

import shutil
from pathlib import Path

import pytest

from tests.datamodules.labelled_cohort import write_cohort


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("labelled"))


@pytest.fixture
def labelled_copy(labelled: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(labelled, tmp_path / "cache")
    return tmp_path / "cache"
