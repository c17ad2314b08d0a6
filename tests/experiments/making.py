"""Small plans on disk."""

import sys
from pathlib import Path
from typing import Any

import yaml

from brainmvp_lightning.experiments.plan import Common, Plan, plan_label_efficiency

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))

TASK: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {
        "default_root_dir": "elsewhere",
        "callbacks": [{"class_path": "BestCheckpoint"}, "LastCheckpoint"],
        "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "elsewhere", "name": "l"}},
    },
    "model": {"class_path": "SegmentationTask", "init_args": {"dice": 0.5, "backbone": "unet3d"}},
    "data": {"class_path": "SegmentationDataModule", "init_args": {"cache": "some"}},
}


def write_task(folder: Path, **options: Any) -> Path:
    """Write a fine-tuning's YAML, with more options of its task."""
    path = folder / "task.yaml"
    model = {**TASK["model"], "init_args": {**TASK["model"]["init_args"], **options}}
    path.write_text(yaml.safe_dump({**TASK, "model": model}))
    return path


def small_plan(
    folder: Path, arms: dict[str, Any], seeds: tuple[int, ...] = (0,), **options: Any
) -> Plan:
    """Plan a fine-tuning of each arm with all training patients."""
    common = Common(write_task(folder, **options), folder / "runs", seeds=seeds)
    return plan_label_efficiency(common, arms, [1.0])
