"""The shipped fine-tuning files are those of the paper, and their commands are right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.cli import main
from tests.end_to_end.fine_tuning_runs import CONFIGS, header_commands

TUMOUR = ["t1", "t1ce", "t2", "flair"]
# Supplement B.2 and B.3: channels; exclusive classes or overlapping regions; spacing in mm.
SEGMENTATION: dict[str, tuple[list[str], bool, float]] = {
    "brats2023_ped": (TUMOUR, True, 1.0),
    "brats2023_met": (TUMOUR, True, 1.0),
    "isles22": (["flair", "dwi", "adc"], True, 1.5),
    "mrbrains13": (["t1", "t1ce", "flair"], False, 1.0),
    "upenn_gbm": (TUMOUR, True, 1.0),
    "vsseg": (["t1ce"], True, 1.0),
}
# Channels, and classes with the one that is looked for last.
CLASSIFICATION: dict[str, tuple[list[str], list[str]]] = {
    "brats2018": (TUMOUR, ["LGG", "HGG"]),
    "adni": (["t1"], ["NC", "MCI"]),
    "adhd200": (["t1"], ["NC", "ADHD"]),
    "abide": (["t1"], ["NC", "ASD"]),
}
ALL = (
    *(CONFIGS / "segmentation" / f"{name}.yaml" for name in SEGMENTATION),
    *(CONFIGS / "classification" / f"{name}.yaml" for name in CLASSIFICATION),
)
each_file = pytest.mark.parametrize("config", ALL, ids=lambda path: path.stem)


def written(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as stop:
        main([*words, "--print_config"])
    assert stop.value.code == 0
    return dict(yaml.safe_load(capsys.readouterr().out))


def test_there_is_a_file_for_each_data_set_and_no_other() -> None:
    assert sorted(ALL) == sorted(CONFIGS.glob("*/*.yaml"))


@each_file
def test_the_file_says_all_that_can_be_said_and_its_commands_fit_together(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, options = header_commands(config), written(config)
    assert list(commands) == ["prepare", "fit", "test", "predict"]
    resolved = printed(capsys, *commands["fit"])
    assert set(options["model"]["init_args"]) == set(resolved["model"]["init_args"])
    streaming = {"local_cache", "local_cache_gb", "seed", "prefetch_factor", "prefetch_to_device"}
    assert set(options["data"]["init_args"]) == set(resolved["data"]["init_args"]) - streaming
    for key, value in options["data"]["init_args"].items():
        assert resolved["data"]["init_args"][key] == value, key
    assert resolved["model"]["init_args"]["weights"] == "ENCODER"
    prepare = CONFIGS.parent / "prepare" / config.name
    assert commands["prepare"] == ["prepare", "--config", str(prepare), "--source.root", "DATA"]
    assert written(prepare)["cache"] == options["data"]["init_args"]["cache"]
    run = options["trainer"]["default_root_dir"]
    kept = {entry["class_path"] for entry in options["trainer"]["callbacks"]}
    checkpoint = "best" if "BestCheckpoint" in kept else "last"
    for command in ("test", "predict"):
        assert commands[command] == [
            *(command, "-c", f"{run}/config.yaml"),
            *("--ckpt_path", f"{run}/checkpoints/{checkpoint}.ckpt"),
        ]


@pytest.mark.parametrize("config", [ALL[0], ALL[-1]], ids=lambda path: path.stem)
def test_print_config_round_trips(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = printed(capsys, "fit", "-c", str(config))
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(first, sort_keys=False))
    assert printed(capsys, "fit", "-c", str(tmp_path / "again.yaml")) == first


@each_file
def test_a_step_is_that_of_the_paper(config: Path) -> None:
    content = written(config)
    model, data = content["model"]["init_args"], content["data"]["init_args"]
    optimizer = model["optimizer"]
    assert (optimizer["learning_rate"], optimizer["weight_decay"]) == (3e-4, 1e-4)
    assert (optimizer["warmup_epochs"], optimizer["final_fraction"]) == (0.0, 0.0)
    assert model["substitution"]["weight"] == 0.1
    assert model["substitution"]["consistency"] == "features"
    assert model["augmentation"] == {"flip": 0.5, "shift": 0.1, "scale": 0.1}
    assert data["clip"] == {"lower": 5.0, "upper": 95.0, "over": "volume"}
    assert data["label_fraction"] == 1.0


@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation_is_that_of_the_paper(name: str) -> None:
    modalities, regions, spacing_mm = SEGMENTATION[name]
    content = written(CONFIGS / "segmentation" / f"{name}.yaml")
    data, trainer = content["data"]["init_args"], content["trainer"]
    assert data["modalities"] == modalities
    assert data["regions"] is regions
    assert data["crop_size"] == [96, 96, 96]
    assert data["batch_size"] * trainer.get("accumulate_grad_batches", 1) == 3
    assert trainer["max_epochs"] == 500
    assert content["model"]["init_args"]["window"]["overlap"] == 0.5
    prepare = CONFIGS.parent / "prepare" / f"{name}.yaml"
    assert written(prepare)["recipe"]["spacing_mm"] == spacing_mm


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_is_that_of_the_paper(name: str) -> None:
    modalities, classes = CLASSIFICATION[name]
    content = written(CONFIGS / "classification" / f"{name}.yaml")
    data, trainer = content["data"]["init_args"], content["trainer"]
    assert data["modalities"] == modalities
    assert data["classes"] == classes
    assert data["resized_to"] == [128, 128, 64]
    assert data["crop_size"] == [96, 96, 64]
    assert data["batch_size"] * trainer["accumulate_grad_batches"] == 64
    assert trainer["max_epochs"] == 200
