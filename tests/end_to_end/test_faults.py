"""What goes wrong on real machines: nothing is lost, nothing wrong is trained on, all is said."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback

from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.volumes.cache import Cache, CachedStudy
from tests.conftest import write_studies
from tests.training import LossRecord, small_data, small_task, small_trainer

ROOT = Path(__file__).parents[2]
SIZE = (16, 16, 16)


def config(folder: Path, table: Path, cache: Path, workers: int = 1) -> Path:
    file = folder / f"{cache.name}.yaml"
    file.write_text(
        f"source: {{class_path: table, init_args: {{path: {table}}}}}\n"
        f"cache: {cache}\nworkers: {workers}\n"
    )
    return file


def digests(cache: Path) -> dict[str, str]:
    opened = Cache.open(cache)
    return {scan.file: scan.digest for study in opened.studies for scan in study.scans}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(call, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_full_disk_is_said_and_prepare_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_studies(tmp_path / "studies")
    assert prepare(["--config", str(config(tmp_path, table, tmp_path / "whole"))]) == 0
    call = ["--config", str(config(tmp_path, table, small_disk / "cache"))]
    capsys.readouterr()
    assert prepare(call) == 1
    error = capsys.readouterr().err
    assert "the disk is full; free some space and run the same command again" in error
    assert not (small_disk / "cache" / "index.json").exists()
    assert not list(small_disk.rglob("*.part"))
    mount(small_disk, "size=30m")
    assert prepare(call) == 0
    assert digests(small_disk / "cache") == digests(tmp_path / "whole")


def test_read_only_folder_is_said(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_studies(tmp_path / "studies")
    mount(small_disk, "ro")
    assert prepare(["--config", str(config(tmp_path, table, small_disk / "cache"))]) == 1
    assert "the folder is read-only; choose another cache folder" in capsys.readouterr().err


def test_damaged_gzip_is_set_aside_and_the_rest_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_studies(tmp_path / "studies")
    half, flipped = (tmp_path / "studies" / "a" / f"a_{name}.nii.gz" for name in ("t1", "t2"))
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    flip(flipped)
    assert prepare(["--config", str(config(tmp_path, table, tmp_path / "cache"))]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "2 set aside" in output
    rejected = (tmp_path / "cache" / "rejected.csv").read_text()
    assert "compressed data end too early" in rejected
    assert "compressed data are damaged" in rejected
    kept = next(study for study in Cache.open(tmp_path / "cache").studies if study.patient == "a")
    assert set(kept.modalities) == {"t1ce", "flair"}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF  # a single bit of a gzip stream may mean the same voxels
    file.write_bytes(content)


def frame(cache: Path, patient: str, modality: str) -> Path:
    study = next(study for study in Cache.open(cache).studies if study.patient == patient)
    return cache / study.scan(modality).file


class Spoil(Callback):
    """Damages the cache after a step, and keeps what the network was shown."""

    def __init__(self, cache: Path, step: int) -> None:
        self.cache, self.step = cache, step
        self.batches: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.batches.append(args[2])
        if trainer.global_step == self.step:
            frame(self.cache, "a", "t1").unlink()
            flip(frame(self.cache, "d", "flair"))
            for modality in ("t2", "flair"):  # nothing of this study is left
                frame(self.cache, "e", modality).unlink()


def shown(batch: dict[str, Any], kind: str) -> Iterator[tuple[int, int, np.ndarray]]:
    """Row, modality and voxels of targets or partners."""
    rows = range(len(batch["image"])) if kind == "image" else batch["partner_rows"].tolist()
    name = "modality" if kind == "image" else "partner_modality"
    for row, modality, crop in zip(rows, batch[name].tolist(), batch[kind], strict=True):
        yield row, modality, crop[0].numpy()


@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
def test_vanished_and_flipped_frames_during_training_show_no_wrong_voxel(
    cache_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cache_folder, tmp_path / "cache")
    spoil, losses = Spoil(tmp_path / "cache", step=3), LossRecord()
    task = small_task()
    small_trainer(tmp_path, spoil, losses, epochs=4).fit(task, small_data(tmp_path / "cache"))
    assert len(losses.losses) == 12
    assert np.isfinite(list(losses.losses.values())).all()
    assert task.num_faults > 0
    pristine = Cache.open(cache_folder)
    by_id: dict[str, CachedStudy] = {study.id: study for study in pristine.studies}
    data = small_data(cache_folder)
    compared = 0
    for batch in spoil.batches:
        for kind in ("image", "partner"):
            for row, modality, crop in shown(batch, kind):
                study = by_id[batch["study"][row]]
                if float(batch["weight"][row]) == 0:
                    continue
                start = batch["origin"][row].numpy() + np.asarray(study.shape) // 2
                scan = study.scan(pristine.modalities[modality])
                expected = pristine.read_unit_crop(study, scan, start.tolist(), SIZE, data.clip)
                np.testing.assert_allclose(crop, expected, atol=1e-6)
                compared += 1
    assert compared > 20
    said = capsys.readouterr().out
    assert "its bytes are not those that were written" in said
    assert "cannot be read (No such file or directory)" in said
    # Said once for each scan, however often it is asked for.
    assert said.count(frame_name(pristine, "e", "t2")) == 1


def frame_name(cache: Cache, patient: str, modality: str) -> str:
    return next(s for s in cache.studies if s.patient == patient).scan(modality).file


def test_study_without_a_readable_scan_has_no_share_in_the_loss(
    cache_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(cache_folder, tmp_path / "cache")
    spoil = Spoil(tmp_path / "cache", step=1)
    small_trainer(tmp_path, spoil, epochs=2).fit(small_task(), small_data(tmp_path / "cache"))
    lost = [
        float(weight)
        for batch in spoil.batches[3:]
        for study, weight in zip(batch["study"], batch["weight"], strict=True)
        if study == "toy_e"
    ]
    assert set(lost) == {0.0}


BUSY = """
import sys, time
from pathlib import Path
from brainmvp_lightning.volumes.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_second_prepare_on_one_cache_is_refused_and_harms_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, cache = write_studies(tmp_path / "studies"), tmp_path / "cache"
    call = ["--config", str(config(tmp_path, table, cache))]
    assert prepare(call) == 0
    before = digests(cache)
    other = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(cache)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        capsys.readouterr()
        assert prepare(call) == 1
        assert "another process is writing to" in capsys.readouterr().err
    finally:
        other.kill()
        other.wait()
        other.stdout.close()  # type: ignore[union-attr]
    assert digests(cache) == before
    assert prepare(call) == 0  # a killed process lets go by itself


KILL = '''
"""Kills a data worker of the run, as a system without memory does."""
import os, signal, multiprocessing
from lightning.pytorch.callbacks import Callback

class KillWorker(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 2 and not os.path.exists("{flag}"):
            open("{flag}", "w").close()
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
'''


@pytest.mark.slow
def test_killed_data_worker_ends_the_run_in_a_sentence_and_it_can_go_on(
    cache_folder: Path, tmp_path: Path
) -> None:
    from tests.end_to_end.test_crash import CONFIG

    (tmp_path / "killing.py").write_text(KILL.format(flag=tmp_path / "killed"))
    text = CONFIG.format(
        run=tmp_path / "run", cache=cache_folder, devices=1, strategy="auto", kill_at=0, batch=2
    )
    lines = [
        "    - killing.KillWorker" if "watching.Watch" in line else line
        for line in text.splitlines()
    ]
    (tmp_path / "run.yaml").write_text("\n".join(lines))
    call = [sys.executable, "-m", "brainmvp_lightning", "fit", "--config", tmp_path / "run.yaml"]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "OMP_NUM_THREADS": "1"}
    first = subprocess.run(call, env=env, capture_output=True, text=True, timeout=150)
    assert first.returncode == 1
    assert "a data worker was killed" in first.stderr
    assert "--ckpt_path last" in first.stderr
    assert "Traceback" not in first.stderr
    second = subprocess.run(
        [*call, "--ckpt_path", "last"], env=env, capture_output=True, text=True, timeout=150
    )
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
