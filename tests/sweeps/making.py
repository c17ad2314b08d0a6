"""Small sweeps on disk, and a program to run them with."""

import sys
from pathlib import Path
from typing import Any

import yaml

from brainmvp_lightning.sweeps.files import Metric, Sweep
from brainmvp_lightning.sweeps.parameters import Parameter
from brainmvp_lightning.sweeps.trials import FINISHED, Trial

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
BASE = ROOT / "configs" / "demo" / "pretrain.yaml"
RATE = "model.init_args.optimizer.learning_rate"
COMMAND = ["${env}", "${program}", "fit", "-c", str(BASE), "-c", "${args_json_file}"]


def tree(**changes: Any) -> dict[str, Any]:
    """Return a right sweep file, with changes; None takes a key away."""
    content = {
        "program": "brainmvp",
        "method": "grid",
        "metric": {"name": "val/cross_modal_mse", "goal": "minimize"},
        "parameters": {RATE: {"values": [0.01, 0.001, 0.003]}, "trainer.max_epochs": {"value": 1}},
        "command": list(COMMAND),
        **changes,
    }
    return {key: value for key, value in content.items() if value is not None}


def write_sweep(folder: Path, **changes: Any) -> Path:
    """Write a sweep file; see `tree`."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(tree(**changes), sort_keys=False))
    return path


def write_program(folder: Path) -> Path:
    """Write a program ``brainmvp`` that is the stand-in, and return its folder."""
    programs = folder / "programs"
    programs.mkdir()
    script = programs / "brainmvp"
    stand_in = Path(__file__).with_name("stand_in.py")
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n')
    script.chmod(0o755)
    return programs


def sweep_of(*parameters: Parameter, method: str = "random", goal: str = "minimize") -> Sweep:
    """Return a sweep that lies in no file."""
    metric = Metric("val/dice", goal)
    path = Path("sweep.yaml")
    return Sweep(path, method, metric, parameters, "brainmvp", tuple(COMMAND), None, None, "small")


def finished(number: int, metric: float, **values: Any) -> Trial:
    """Return a trial that ended with a metric."""
    return Trial(number, values, dict.fromkeys(values, 0.5), FINISHED, [metric + 1, metric], 90.0)
