"""Training from a web server, by workers that are forked after the cache was opened."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from brainmvp_lightning.volumes.cache import Cache
from tests.training import LossRecord, small_data, small_task, small_trainer
from tests.volumes.serving import Server


@pytest.fixture
def remote(cache: Cache, tmp_path: Path) -> Iterator[Server]:
    shutil.copytree(cache.path, tmp_path / "served")
    server = Server(tmp_path / "served")
    yield server
    server.stop()


@pytest.mark.parametrize("copies", [True, False])
def test_two_workers_read_over_http_what_lies_in_the_folder(
    cache_folder: Path, remote: Server, tmp_path: Path, copies: bool
) -> None:
    options: dict[str, Any] = {"num_workers": 2, "visits_per_epoch": 3}
    if copies:
        options["local_cache"] = str(tmp_path / "copies")
    near = small_data(cache_folder, visits_per_epoch=3)
    far = small_data(remote.url, **options)  # type: ignore[arg-type]
    for ours, theirs in zip(near.train_dataloader(), far.train_dataloader(), strict=True):
        first, second = ours.unpack(), theirs.unpack()
        assert first["faults"] == second["faults"] == []
        assert torch.equal(first["image"], second["image"])
        assert torch.equal(first["partner"], second["partner"])


def test_what_vanishes_from_the_server_is_a_fault_and_training_goes_on(
    cache: Cache, remote: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = next(study for study in cache.studies if study.patient == "c")
    (tmp_path / "served" / study.scans[0].file).unlink()
    task, record = small_task(), LossRecord()
    data = small_data(remote.url, num_workers=2)  # type: ignore[arg-type]
    small_trainer(tmp_path / "run", record, epochs=2).fit(task, data)
    assert len(record.losses) == 6
    assert task.num_faults == 2
    assert f"{remote.url}/{study.scans[0].file}: cannot be read" in capsys.readouterr().out
