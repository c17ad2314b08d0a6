"""Sweeps of real trainings, small ones."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.commands.sweep import main
from brainmvp_lightning.commands.sweep_metrics import goal_of, validation_metrics
from brainmvp_lightning.commands.sweep_reader import reader
from brainmvp_lightning.sweeps.history import logged_names
from tests.end_to_end.test_crash import CONFIG
from tests.sweeps.making import RATE, ROOT

pytestmark = pytest.mark.slow

NOTE = """
from pathlib import Path
from lightning.pytorch.callbacks import Callback

class Note(Callback):
    def on_train_start(self, trainer, task):
        rate = trainer.optimizers[0].param_groups[0]["initial_lr"]
        path = Path(trainer.default_root_dir, f"rate_{trainer.global_rank}.txt")
        path.write_text(str(rate))
"""


def write_base(folder: Path, cache: Path, devices: int = 1) -> Path:
    strategy = "ddp" if devices > 1 else "auto"
    settings = {"devices": devices, "strategy": strategy, "kill_at": 0, "batch": 1}
    content = yaml.safe_load(CONFIG.format(run=folder / "root", cache=cache, **settings))
    content["trainer"]["callbacks"] = ["LastCheckpoint", "noting.Note"]
    content["trainer"] |= {"max_epochs": 1, "limit_train_batches": 2}
    content["data"]["init_args"]["num_workers"] = 0
    (folder / "noting.py").write_text(NOTE)
    (folder / "base.yaml").write_text(yaml.safe_dump(content))
    return folder / "base.yaml"


def write_sweep(folder: Path, base: Path, **changes: Any) -> Path:
    content = {
        "program": "brainmvp",
        "method": "grid",
        "metric": {"name": "val/cross_modal_mse", "goal": "minimize"},
        "parameters": {RATE: {"values": [0.001, 0.02]}},
        "command": ["${env}", "${program}", "fit", "-c", str(base), "-c", "${args_json_file}"],
        **changes,
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))
    return folder / "tiny.yaml"


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize("devices", [1, 2])
def test_values_reach_every_process_and_the_metric_comes_back(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: int
) -> None:
    prepare(tmp_path, monkeypatch)
    base = write_base(tmp_path, cache_folder, devices)
    words = ["fit", "-c", str(base), "--trainer.logger", "wandb", "-c", "${args_json_file}"]
    changes = {} if devices > 1 else {"command": ["${env}", "${program}", *words]}
    assert main(["run", str(write_sweep(tmp_path, base, **changes)), "--local"]) == 0
    folder = tmp_path / "root" / "sweeps" / "tiny"
    for number, rate in enumerate((0.001, 0.02)):
        run = folder / f"trial_000{number}"
        noted = [(run / f"rate_{rank}.txt").read_text() for rank in range(devices)]
        assert noted == [str(rate)] * devices
        assert (run / "checkpoints" / "last.ckpt").exists()
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    assert len({row["val/cross_modal_mse"] for row in rows}) == 2
    assert float(rows[0]["val/cross_modal_mse"]) < float(rows[1]["val/cross_modal_mse"])
    config, _ = reader().read(["fit", "-c", str(base)])
    assert config is not None
    metrics = validation_metrics(config.model)
    assert metrics is not None
    logged = {name for name in logged_names(folder / "trial_0000") if name.startswith("val/")}
    assert logged == set(metrics)
    assert all(goal_of(name, metrics)[0] for name in logged)


def test_a_run_of_wandbs_agent_has_its_own_folder(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    base = write_base(tmp_path, cache_folder)
    values = tmp_path / "config-run7.json"
    values.write_text(json.dumps({RATE: 0.003, "trainer.limit_val_batches": 0}))
    words = [sys.executable, "-m", "brainmvp_lightning", "fit", "-c", str(base), "-c", str(values)]
    agent = {**os.environ, "WANDB_SWEEP_ID": "abc", "WANDB_RUN_ID": "run7"}
    done = subprocess.run(words, env=agent, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "root" / "sweeps" / "abc" / "run7"
    assert (run / "rate_0.txt").read_text() == "0.003"
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["default_root_dir"] == str(
        run
    )
    assert (run / "checkpoints" / "last.ckpt").exists()
