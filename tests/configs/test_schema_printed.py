"""What ``--print_config`` writes satisfies the schema, and is read as what it was written from."""

from pathlib import Path

import pytest
import yaml

from brainmvp_lightning.cli import main
from tests.configs.schemas import CONFIGS, YAMLS, kind_of, validator

BASE = CONFIGS / "pretrain" / "brainmvp_uniformer.yaml"
QUICK = ("cluster/ddp.yaml", "finetune/classification/adni.yaml")
TRAINING = [
    pytest.param(path, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for path in YAMLS
    if kind_of(path) == "fit"
    for name in [str(path.relative_to(CONFIGS))]
]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["fit", *words, "--print_config"])
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    return out


@pytest.mark.parametrize("path", TRAINING)
def test_a_printed_configuration_satisfies_the_schema_and_comes_back(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    is_layer = {"model", "data"} - yaml.safe_load(path.read_text()).keys()
    below = ("-c", str(BASE)) if is_layer else ()
    text = printed(capsys, *below, "-c", str(path))
    content = yaml.safe_load(text)
    assert [error.message for error in validator("fit").iter_errors(content)] == []
    saved = tmp_path / "config.yaml"
    saved.write_text(text)
    assert printed(capsys, "-c", str(saved)) == text


def test_options_and_a_later_file_say_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As the page on configurations has it, row by row."""
    base, layer = CONFIGS / "demo" / "pretrain.yaml", tmp_path / "layer.yaml"
    masking = {"class_path": "random_cubes"}  # keeps block size and ratio
    method = {"init_args": {"contrast": None, "masking": masking}}
    backbone = {"class_path": "unet3d", "init_args": {"widths": [16, 32, 64, 128]}}
    optimizer = {"learning_rate": 1.0e-4}
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/total"}}
    model = {"backbone": backbone, "optimizer": optimizer, "method": method}
    content = {
        "trainer": {"callbacks+": ["SaveOnSignal", stopping]},
        "model": {"init_args": model},
        "data": {"init_args": {"crop_size": [64, 64, 64]}},
    }
    layer.write_text(yaml.safe_dump(content))
    assert [error.message for error in validator("fit").iter_errors(content)] == []
    words = ["--model.optimizer.learning_rate", "1e-4", "--model.backbone", "unet3d"]
    words += ["--model.backbone.widths", "[16, 32, 64, 128]", "--model.method.contrast", "null"]
    words += ["--model.method.masking", "random_cubes", "--data.crop_size", "[64, 64, 64]"]
    words += ["--trainer.callbacks+", "SaveOnSignal", "--trainer.callbacks+", "EarlyStopping"]
    words += ["--trainer.callbacks.monitor", "val/total"]
    by_file = yaml.safe_load(printed(capsys, "-c", str(base), "-c", str(layer)))
    assert yaml.safe_load(printed(capsys, "-c", str(base), *words)) == by_file
    chosen = by_file["model"]["init_args"]["method"]["init_args"]["masking"]
    assert chosen["class_path"].endswith(".random_cubes")
    assert chosen["init_args"]["block_size"] == 8


def test_the_later_of_a_file_and_an_option_wins(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base, layer = CONFIGS / "demo" / "pretrain.yaml", tmp_path / "layer.yaml"
    layer.write_text("trainer: {max_epochs: 9}")
    option = ("--trainer.max_epochs", "5")
    first = printed(capsys, "-c", str(base), *option, "-c", str(layer))
    last = printed(capsys, "-c", str(base), "-c", str(layer), *option)
    results = [yaml.safe_load(text)["trainer"]["max_epochs"] for text in (first, last)]
    assert results == [9, 5]
