from pathlib import Path

import pytest

from tests.golden.stand_ins import checkpoint, write_checkpoint

SHRINK = 4  # widths of 16, 32, 80 and 128 instead of 64, 128, 320 and 512


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files in the published layouts."""
    folder = tmp_path_factory.mktemp("published")
    return {
        network: write_checkpoint(folder / f"{network}.pt", checkpoint(network, SHRINK))
        for network in ("uniformer", "unet3d", "uniunet")
    }
