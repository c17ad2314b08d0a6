"""The program itself, killed in the middle of an epoch, and over two processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

CONFIG = """
seed_everything: 5
trainer:
  default_root_dir: {run}
  accelerator: cpu
  devices: {devices}
  strategy: {strategy}
  max_epochs: 3
  log_every_n_steps: 1
  num_sanity_val_steps: 0
  logger: csv
  callbacks:
    - {{class_path: LastCheckpoint, init_args: {{every_steps: 1}}}}
    - class_path: EncoderExport
    - class_path: TemplatePictures
    - class_path: ReconstructionPictures
    - {{class_path: watching.Watch, init_args: {{file: {run}/losses.jsonl, kill_at: {kill_at}}}}}
model:
  class_path: PretrainTask
  init_args:
    backbone: {{class_path: unet3d, init_args: {{widths: [8, 16], depths: [1, 1]}}}}
    method:
      class_path: brainmvp
      init_args:
        masking: {{class_path: grid_blocks, init_args: {{block_size: 4, ratio: 0.75}}}}
        templates: {{shape: [24, 24, 24], lr_scale: 10.0}}
        contrast: {{class_path: info_nce, init_args: {{temperature: 0.5, start_epoch: 1}}}}
data:
  class_path: PretrainDataModule
  init_args: {{cache: {cache}, crop_size: [16, 16, 16], batch_size: {batch}, num_workers: 1}}
"""

WATCH = '''
"""Writes the loss of each step down, and pulls the plug."""
import json, os, signal
from lightning.pytorch.callbacks import Callback

class Watch(Callback):
    def __init__(self, file: str, kill_at: int = 0) -> None:
        self.file, self.kill_at = file, kill_at

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        with open(f"{self.file}.{trainer.global_rank}", "a") as file:
            file.write(json.dumps([trainer.global_step, float(outputs["loss"]).hex()]) + "\\n")
        studies = [s for s, share in zip(batch["study"], batch["weight"].tolist()) if share]
        with open(f"{self.file}.{trainer.global_rank}.visits", "a") as file:
            file.write(json.dumps([trainer.current_epoch, trainer.global_step, studies]) + "\\n")
        if trainer.global_step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
'''


def fit(
    folder: Path, cache: Path, *more: str, **options: object
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "watching.py").write_text(WATCH)
    settings = {"devices": 1, "strategy": "auto", "kill_at": 0, "batch": 2, **options}
    (folder / "run.yaml").write_text(CONFIG.format(run=folder / "run", cache=cache, **settings))
    (folder / "run").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "brainmvp_lightning", "fit", "--config", folder / "run.yaml", *more],
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )


def losses(folder: Path, rank: int = 0) -> dict[int, str]:
    lines = (folder / "run" / f"losses.jsonl.{rank}").read_text().splitlines()
    return dict(map(json.loads, lines))


def visits(folder: Path, rank: int) -> list[tuple[int, int, list[str]]]:
    """Epoch, step and studies of each training step of one process."""
    lines = (folder / "run" / f"losses.jsonl.{rank}.visits").read_text().splitlines()
    return [tuple(json.loads(line)) for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / "run" / "checkpoints" / "last.ckpt"
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


@pytest.fixture(scope="module")
def whole(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = fit(folder, cache_folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_kill_9_and_resume_repeat_the_uninterrupted_run_to_the_last_bit(
    whole: Path, cache_folder: Path, tmp_path: Path
) -> None:
    assert fit(tmp_path, cache_folder, kill_at=5).returncode == -signal.SIGKILL
    assert max(losses(tmp_path)) == 5
    done = fit(tmp_path, cache_folder, "--ckpt_path", "last")
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == losses(whole)
    assert len(losses(whole)) == 9
    first, second = weights(whole), weights(tmp_path)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["method.templates.values"].any()


@pytest.mark.slow
def test_two_processes_do_what_one_with_twice_the_batch_does(
    cache_folder: Path, tmp_path: Path
) -> None:
    one = fit(tmp_path / "one", cache_folder, batch=4)
    assert one.returncode == 0, one.stderr
    two = fit(tmp_path / "two", cache_folder, batch=2, devices=2, strategy="ddp")
    assert two.returncode == 0, two.stderr
    mean = [
        (float.fromhex(a) + float.fromhex(b)) / 2
        for a, b in zip(
            losses(tmp_path / "two", 0).values(), losses(tmp_path / "two", 1).values(), strict=True
        )
    ]
    alone = [float.fromhex(loss) for loss in losses(tmp_path / "one").values()]
    assert mean == pytest.approx(alone, rel=1e-3)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_two_processes_and_misses_no_study(
    cache_folder: Path, tmp_path: Path
) -> None:
    # Five studies in steps of two: the kill comes after two of three steps of epoch 1, whose
    # second step is not in the checkpoint yet.
    assert fit(tmp_path, cache_folder, kill_at=5).returncode == -signal.SIGKILL
    before = visits(tmp_path, 0)
    for file in (tmp_path / "run").glob("losses*"):
        file.unlink()
    done = fit(tmp_path, cache_folder, "--ckpt_path", "last", devices=2, strategy="ddp")
    assert done.returncode == 0, done.stderr
    assert "2 studies per step, this run takes 4" in " ".join(done.stderr.split())
    after = [visits(tmp_path, rank) for rank in range(2)]
    first_step = after[0][0][1]
    kept = [visit for visit in before if visit[1] < first_step]
    for epoch in range(3):
        steps = [visit for visit in (*kept, *after[0], *after[1]) if visit[0] == epoch]
        studies = sorted(study for _, _, names in steps for study in names)
        assert studies == ["toy_a", "toy_b", "toy_c", "toy_d", "toy_e"]


@pytest.mark.slow
def test_a_run_leaves_pictures_templates_encoder_and_logs(whole: Path) -> None:
    run = whole / "run"
    for file in (
        "config.yaml",
        "encoder.safetensors",
        "logs/version_0/metrics.csv",
        "pictures/templates_last.png",
        "pictures/reconstruction_0003.png",
        "templates/t1.nii.gz",
    ):
        assert (run / file).stat().st_size > 0, file


@pytest.mark.slow
def test_wandb_works_offline_with_pictures(cache_folder: Path, tmp_path: Path) -> None:
    logger = ["--trainer.logger", "WandbLogger", "--trainer.logger.offline", "true"]
    logger += ["--trainer.logger.save_dir", str(tmp_path / "run"), "--trainer.max_epochs", "1"]
    done = fit(tmp_path, cache_folder, *logger)
    assert done.returncode == 0, done.stderr
    (offline,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    images = [path.name for path in (offline / "files" / "media").rglob("*.png")]
    assert any(name.startswith("reconstruction") for name in images)
    assert any(name.startswith("templates") for name in images)
