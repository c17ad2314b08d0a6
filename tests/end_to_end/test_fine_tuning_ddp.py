"""Two processes fine-tune, validate, test and predict like one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.evaluation.tables import read_cases
from tests.datamodules.labelled_cohort import COHORT, write_cohort
from tests.tasks.fine_tuning import MODALITIES, write_encoder

# Five studies to test on, so that the last step of two processes is uneven.
TESTED = tuple(
    type(p)(**{**vars(p), "split": "test", "name": f"{p.name}-{n}"})
    for p in COHORT[:5]
    for n in range(1)
)


def config(folder: Path) -> Path:
    content: dict[str, Any] = {
        "trainer": {
            "default_root_dir": str(folder / "run"),
            "accelerator": "cpu",
            "strategy": "ddp",
            "max_steps": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "callbacks": [{"class_path": "LastCheckpoint"}, {"class_path": "PredictionWriter"}],
        },
        "model": {
            "class_path": "SegmentationTask",
            "init_args": {
                "backbone": {
                    "class_path": "unet3d",
                    "init_args": {"widths": [8, 16], "depths": [1, 1]},
                },
                "weights": str(folder / "encoder.safetensors"),
                "substitution": {"weight": 0.1},
                "loss": {"auxiliary": []},
            },
        },
        "data": {
            "class_path": "SegmentationDataModule",
            "init_args": {
                "cache": str(folder / "cache"),
                "datasets": ["tumour"],
                "modalities": list(MODALITIES),
                "crop_size": [16, 16, 16],
                "batch_size": 1,
                "num_workers": 0,
            },
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def brainmvp(
    folder: Path, command: str, devices: int, *more: str
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "brainmvp_lightning", command, "--config", str(config(folder))]
    words += ["--trainer.devices", str(devices), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_two_processes_score_each_study_once_and_as_one_process_does(tmp_path: Path) -> None:
    write_cohort(tmp_path / "cache", (*COHORT, *TESTED))
    write_encoder(tmp_path / "encoder.safetensors")
    brainmvp(tmp_path, "fit", 2)
    checkpoint = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    tables, summaries = [], []
    for devices in (1, 2):
        brainmvp(tmp_path, "test", devices, "--ckpt_path", checkpoint)
        tables.append(read_cases(tmp_path / "run" / "test" / "cases.csv"))
        summaries.append(json.loads((tmp_path / "run" / "test" / "summary.json").read_text()))
    assert len(tables[0]) == 3 * 6  # regions times test studies
    assert tables[0] == tables[1]
    assert summaries[0] == summaries[1]
    brainmvp(tmp_path, "predict", 2, "--ckpt_path", checkpoint)
    written = sorted((tmp_path / "run" / "predictions").glob("*_seg.nii.gz"))
    assert len(written) == 6
