"""A configuration small enough to plan in a test."""

from pathlib import Path

import yaml

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "pretrain.yaml"


def write_config(folder: Path, cache: Path) -> Path:
    """Write a pre-training of crops of 32^3 with a small network, four studies a step."""
    config = yaml.safe_load(DEMO.read_text())
    config["trainer"] |= {
        "default_root_dir": str(folder / "run"),
        "max_epochs": 1,
        "logger": False,
        "callbacks": [{"class_path": "LastCheckpoint", "init_args": {"every_steps": 1}}],
        "enable_progress_bar": False,
    }
    task = config["model"]["init_args"]
    task["backbone"] = {
        "class_path": "brainmvp_lightning.backbones.unet3d.UNET3D",
        "init_args": {"widths": [8, 16], "depths": [1, 1]},
    }
    task["method"]["init_args"]["templates"]["shape"] = [24, 24, 24]
    data = config["data"]["init_args"]
    data |= {"cache": str(cache), "crop_size": [32, 32, 32], "num_workers": 0}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
