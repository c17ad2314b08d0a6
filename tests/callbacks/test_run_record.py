"""Facts of a run that hold where git or a repository is missing, and that name nobody."""

import subprocess
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from brainmvp_lightning.callbacks.run_facts import configuration_hash, git_state, split_hash
from brainmvp_lightning.callbacks.run_record import RunRecord
from brainmvp_lightning.reports.metrics import read_logs
from brainmvp_lightning.volumes.cache import Cache
from brainmvp_lightning.volumes.index import StudySelection
from tests.training import small_data, small_task, small_trainer


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_git_state_is_commit_branch_and_changes(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q", "-b", "work")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "first")
    git(tmp_path, "remote", "add", "origin", "https://host/anna/secret.git")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": commit, "branch": "work", "dirty": False}
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == {"commit": commit, "branch": "work", "dirty": True}


def test_a_machine_without_git_has_no_git_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(Path(__file__).parent) is None


def test_the_hash_of_a_split_depends_on_who_is_in_it_and_not_on_the_order(cache: Cache) -> None:
    def chosen(*places: int) -> StudySelection:
        import numpy as np

        return StudySelection(cache.studies, np.array(places))

    first = split_hash({"train": chosen(0, 1), "val": chosen(2)})
    assert split_hash({"val": chosen(2), "train": chosen(1, 0)}) == first
    assert split_hash({"train": chosen(0, 2), "val": chosen(1)}) != first
    assert split_hash({"train": chosen(0, 1)}) != first


def test_the_hash_of_a_configuration_is_the_same_wherever_its_paths_lie() -> None:
    first = configuration_hash({"cache": "/data/x/cache", "lr": 1.0})
    assert configuration_hash({"lr": 1.0, "cache": "/other/cache"}) == first
    assert configuration_hash({"cache": "/data/x/cache", "lr": 2.0}) != first


def test_a_resumed_run_writes_its_record_anew(cache_folder: Path, tmp_path: Path) -> None:
    small_trainer(tmp_path, RunRecord({"a": 1}), epochs=1).fit(
        small_task(), small_data(cache_folder)
    )
    file = tmp_path / "run.json"
    assert '"continues": false' in file.read_text()
    assert '"studies": {\n   "train": 5,\n   "val": 2,\n   "test": 0\n' in file.read_text()
    file.write_text("old")
    checkpoint = str(tmp_path / "checkpoints" / "last.ckpt")
    trainer = small_trainer(tmp_path, RunRecord({"a": 2}), epochs=2)
    trainer.fit(small_task(), small_data(cache_folder), ckpt_path=checkpoint, weights_only=True)
    assert file.read_text().startswith('{\n "format": 1,')
    assert '"continues": true' in file.read_text()


def test_each_log_says_whether_its_training_goes_on(cache_folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        trainer = small_trainer(tmp_path, RunRecord(), epochs=1)
        trainer.loggers = [CSVLogger(tmp_path, name="logs")]
        trainer.fit(small_task(), small_data(cache_folder))
    logs = tmp_path / "logs"
    starts = [(logs / name / "start.json").read_text() for name in ("version_0", "version_1")]
    assert starts == ['{"continues": false}\n'] * 2
    assert read_logs(logs).num_parts == 1
