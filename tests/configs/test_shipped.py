"""Every shipped configuration parses, says what it means, and is what it prints."""

from pathlib import Path

import pytest
import yaml

from brainmvp_lightning.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
TRAINING = sorted([*CONFIGS.glob("pretrain/**/*.yaml"), *CONFIGS.glob("demo/*.yaml")])
PREPARE = sorted(CONFIGS.glob("prepare/*.yaml"))


def printed(capsys: pytest.CaptureFixture[str], command: str, config: Path) -> str:
    with pytest.raises(SystemExit) as stop:
        main([command, "--config", str(config), "--print_config"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_there_are_configurations() -> None:
    assert TRAINING
    assert PREPARE


@pytest.mark.parametrize(
    ("command", "config"),
    [("fit", c) for c in TRAINING] + [("prepare", c) for c in PREPARE],
    ids=lambda value: value if isinstance(value, str) else f"{value.parent.name}/{value.name}",
)
def test_print_config_round_trips(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, config: Path
) -> None:
    first = printed(capsys, command, config)
    saved = tmp_path / "config.yaml"
    saved.write_text(first)
    assert printed(capsys, command, saved) == first


@pytest.mark.parametrize("config", TRAINING, ids=lambda path: path.name)
def test_every_key_of_a_configuration_reaches_the_printed_one(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    resolved = yaml.safe_load(printed(capsys, "fit", config))
    written = yaml.safe_load(config.read_text())
    limits = {"max_epochs", "max_steps"} & written["trainer"].keys()
    assert limits
    assert all(resolved["trainer"][key] == written["trainer"][key] for key in limits)
    data = written["data"]["init_args"]
    assert {key: resolved["data"]["init_args"][key] for key in data} == data


def _published(name: str) -> dict[str, object]:
    method = yaml.safe_load((CONFIGS / "pretrain" / name).read_text())["model"]["init_args"][
        "method"
    ]
    options: dict[str, object] = method["init_args"]
    return options


def test_the_preset_of_the_published_code_departs_where_it_should() -> None:
    official, paper = _published("official.yaml"), _published("brainmvp_uniformer.yaml")
    ratio = [preset["masking"]["init_args"]["ratio"] for preset in (paper, official)]  # type: ignore[index]
    assert ratio == [0.875, 0.8]
    weight = [preset["distillation"]["init_args"]["weight"] for preset in (paper, official)]  # type: ignore[index]
    assert weight == [1.0, 10.0]
    assert official["partner_start_epoch"] == 301
