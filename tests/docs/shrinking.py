"""What is made smaller when pages are run: values of the shipped files, and words of calls.

Pages are run with copies of the shipped configurations in which only the values listed here
differ, so that a call stays as it is printed. Words of calls that ask for too much are replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

SPACING_MM = 6.0
CROP = [32, 32, 32]
TINY = {
    "uniformer_small": "uniformer_tiny",
    "uniformer_base": "uniformer_tiny",
    "unet3d": {"class_path": "unet3d", "init_args": {"widths": [8, 16], "depths": [1, 1]}},
}
"""Stand-ins of backbones that shipped files name."""
TRAINER = {
    "accelerator": "cpu",
    "devices": 1,
    "precision": "32-true",
    "sync_batchnorm": False,
    "max_epochs": 1,
    "max_steps": 2,
    "limit_train_batches": 2,
    "limit_val_batches": 1,
    "check_val_every_n_epoch": 1,
    "val_check_interval": None,
    "log_every_n_steps": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
DATA = {"crop_size": CROP, "batch_size": 2, "num_workers": 0, "visits_per_epoch": 1}
SOURCE = {"num_studies": 14, "spacing_mm": SPACING_MM, "workers": 1}
"""Of cohorts that are made."""
LARGEST = {
    "--trainer.max_epochs": "1",
    "--trainer.max_steps": "2",
    "--trainer.devices": "1",
    "--trainer.num_nodes": "1",
    "--trainer.limit_train_batches": "2",
    "--count": "2",
    "--jobs": "1",
    "--workers": "1",
    "--epochs": "1",
    "--second_epochs": "1",
    "--steps": "1",
    "--source.num_studies": "14",
}
"""Words of calls, and what follows them at most."""
APPENDED = (
    "--trainer.accelerator",
    "cpu",
    "--trainer.devices",
    "1",
    "--trainer.precision",
    "32-true",
)
"""Words after those of each training, for files that a page makes for a GPU."""
TRAININGS = ("fit", "validate", "test", "predict")


def shrink_words(words: list[str]) -> list[str]:
    """Return the words of a call with values of `LARGEST` in the place of larger ones."""
    if not words:
        return words
    small = list(words)
    for place, (word, value) in enumerate(pairwise(words)):
        if word in LARGEST and (not value.isdigit() or int(value) > int(LARGEST[word])):
            small[place + 1] = LARGEST[word]
    if words[:2] == ["sweep", "run"] and "--count" not in words:
        small += ["--count", LARGEST["--count"]]
    asks_only = any("help" in word or word.startswith("--print_config") for word in words)
    return small if asks_only or words[0] not in TRAININGS else [*small, *APPENDED]


def shrink_run(config: dict[str, Any]) -> None:
    """Make a training small."""
    trainer = config["trainer"]
    trainer.update(TRAINER)
    for callback in trainer.get("callbacks") or ():
        if "every_epochs" in callback.get("init_args", {}):
            callback["init_args"]["every_epochs"] = 1
        if "every_steps" in callback.get("init_args", {}):
            callback["init_args"]["every_steps"] = 1
    model = config["model"]["init_args"]
    if isinstance(model["backbone"], str):
        model["backbone"] = TINY.get(model["backbone"], model["backbone"])
    options = model.get("method", {}).get("init_args", {})
    if "templates" in options:
        options["templates"]["shape"] = CROP
    data = config["data"]["init_args"]
    data.update({key: value for key, value in DATA.items() if key in data or key == "num_workers"})
    if "resized_to" in data:
        data["resized_to"] = [40, 40, 32]


def shrink_layer(config: dict[str, Any]) -> None:
    """Make what goes on top of a training small: where it names what is listed above."""
    trainer = config.get("trainer") or {}
    model, data = ((config.get(part) or {}).get("init_args", {}) for part in ("model", "data"))
    if isinstance(model.get("backbone"), str):
        model["backbone"] = TINY.get(model["backbone"], model["backbone"])
    if "crop_size" in data:
        data["crop_size"] = CROP
    for key in ("devices", "num_nodes"):
        if key in trainer:
            trainer[key] = 1
    for key in ("max_epochs", "max_steps"):
        if key in trainer:
            trainer[key] = TRAINER[key]
    if "precision" in trainer:
        trainer["precision"] = TRAINER["precision"]


def shrink_preparation(config: dict[str, Any]) -> None:
    """Make synthetic cohorts small, and others coarse; trees that tests write are both."""
    config["workers"] = 1
    source = config["source"]
    if source["class_path"] == "synthetic":
        source["init_args"].update(SOURCE)
    if source["class_path"] in ("synthetic", "bids", "table", "datalist", "nnunet"):
        config["recipe"]["spacing_mm"] = SPACING_MM


def shrink_experiment(config: dict[str, Any]) -> None:
    """One run of the first arm and one of the last."""
    config.update(seeds=[0], jobs=1)
    if "fractions" in config:
        config["fractions"] = [1.0]
    names = list(config["arms"])
    config["arms"] = {name: config["arms"][name] for name in dict.fromkeys((names[0], names[-1]))}
    config["overrides"] = {
        key: value for key, value in (config["overrides"] or {}).items() if "trainer." not in key
    }


def shrink_sweep(config: dict[str, Any]) -> None:
    """Let trials be as short as their base file; a fixed value would make them longer."""
    for name, parameter in config["parameters"].items():
        key = name.removeprefix("trainer.")
        if key != name and key in TRAINER and "value" in parameter:
            parameter["value"] = TRAINER[key]


def kind_of(config: dict[str, Any]) -> Callable[[dict[str, Any]], None] | None:
    """Return what makes a configuration small, by its keys."""
    if {"trainer", "model", "data"} <= set(config):
        return shrink_run
    if "source" in config and "recipe" in config:
        return shrink_preparation
    if "arms" in config:
        return shrink_experiment
    if "parameters" in config:
        return shrink_sweep
    if config and set(config) <= {"trainer", "model", "data"}:
        return shrink_layer
    return None


def write_small_configs(shipped: Path, folder: Path) -> None:
    """Write copies of all shipped files, made small."""
    for path in sorted(path for path in shipped.rglob("*") if path.is_file()):
        text = path.read_text(encoding="utf-8")
        target = folder / path.relative_to(shipped)
        target.parent.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_load(text) if path.suffix == ".yaml" else None
        shrink = kind_of(config) if isinstance(config, dict) else None
        if shrink is not None:
            shrink(config)
            text = yaml.safe_dump(config, sort_keys=False)
        target.write_text(text, encoding="utf-8")
