"""What fine-tuning starts from."""

from pathlib import Path

import pytest

from tests.end_to_end.fine_tuning_runs import pretrain


@pytest.fixture(scope="session")
def encoder(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the encoder and templates that two steps of pre-training leave behind."""
    return pretrain(cache_folder, tmp_path_factory.mktemp("pretrain"))
