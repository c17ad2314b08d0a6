"""An experiment with the real trainer: runs, tables, and what a second start does."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.datamodules.labelled_cohort import COHORT, write_cohort
from tests.end_to_end.test_fine_tuning_ddp import TESTED, config
from tests.tasks.fine_tuning import write_encoder


def write_plan(folder: Path) -> Path:
    task: dict[str, Any] = yaml.safe_load(config(folder).read_text())
    task["trainer"] |= {"strategy": "auto", "devices": 1, "max_steps": 3}
    task["trainer"]["callbacks"] = [
        {"class_path": "BestCheckpoint"},
        {"class_path": "LastCheckpoint"},
    ]
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    plan = {
        "task": str(folder / "task.yaml"),
        "cache": str(folder / "cache"),
        "runs": str(folder / "runs"),
        "arms": {
            "scratch": {"model.weights": None, "model.substitution": None},
            "pre-trained": {"model.weights": str(folder / "encoder.safetensors")},
        },
        "fractions": [1.0],
        "seeds": [0, 1],
        "jobs": 2,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


def experiment(plan: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "brainmvp_lightning", "experiment", "label_efficiency"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*words, "--config", str(plan)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
    )


@pytest.mark.slow
def test_label_efficiency_runs_ends_in_tables_and_is_not_run_twice(tmp_path: Path) -> None:
    write_cohort(tmp_path / "cache", (*COHORT, *TESTED))
    write_encoder(tmp_path / "encoder.safetensors")
    plan = write_plan(tmp_path)
    done = experiment(plan)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    runs = tmp_path / "runs"
    with (runs / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seed"]) for row in rows] == [
        (arm, seed) for arm in ("scratch", "pre-trained") for seed in ("0", "1")
    ]
    assert {row["cases"] for row in rows} == {"6"}
    assert "pre-trained" in (runs / "table.md").read_text()
    assert (runs / "label_efficiency.png").stat().st_size > 5000
    again = experiment(plan)
    assert again.returncode == 0
    assert again.stdout.count("finished before") >= 1
