"""What the documentation of the data engine shows is what the program takes."""

import re
from pathlib import Path

import pytest
import yaml

from brainmvp_lightning.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "docs" / "data.md").read_text()


def test_every_option_of_the_streaming_example_exists(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    block = re.search(r"```yaml\n(data:.*?)```", TEXT, re.DOTALL)
    assert block is not None
    file = tmp_path / "data.yaml"
    file.write_text(block[1])
    base = ROOT / "configs" / "pretrain" / "brainmvp_uniformer.yaml"
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(base), "--config", str(file), "--print_config"])
    assert stop.value.code == 0
    resolved = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
    wanted = yaml.safe_load(block[1])["data"]["init_args"]
    assert {key: resolved[key] for key in wanted} == wanted


def test_every_named_configuration_and_test_exists() -> None:
    table = TEXT[TEXT.index("| YAML |") : TEXT.index("* The meaning of label values")]
    cells = " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
    names: list[str] = []
    for name in re.findall(r"`([a-z0-9_{},]+)`", cells):
        stem, _, tails = name.partition("{")
        names += [stem + tail for tail in tails.rstrip("}").split(",")] if tails else [name]
    shipped = {path.stem for path in (ROOT / "configs" / "prepare").glob("*.yaml")}
    shipped -= {"demo", "gliomas"}  # the synthetic cohorts
    assert set(names) == shipped
    for path in re.findall(r"`(tests/[\w/]+\.py)`", TEXT):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        ".github/docs/data.md",
        ".github/docs/fine_tuning.md",
        ".github/CONTRIBUTING.md",
    ],
)
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        if not target.startswith("http"):
            assert (folder / target).exists(), target


def test_the_page_on_fine_tuning_names_what_is_there() -> None:
    text = (ROOT / ".github" / "docs" / "fine_tuning.md").read_text()
    for kind in ("segmentation", "classification"):
        row = re.search(rf"^\| {kind} \| (.*) \|$", text, re.MULTILINE)
        assert row is not None
        folder = ROOT / "configs" / "finetune" / kind
        assert set(re.findall(r"`(\w+)`", row[1])) == {path.stem for path in folder.glob("*.yaml")}
    for path in re.findall(r"(configs/[\w/]+\.yaml)", text):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"^brainmvp (\w+)", text, re.MULTILINE):
        assert name in COMMANDS


def test_every_option_of_the_fine_tuning_page_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (ROOT / ".github" / "docs" / "fine_tuning.md").read_text()
    base = ROOT / "configs" / "finetune" / "segmentation" / "brats2023_ped.yaml"
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(base), "--print_config"])
    assert stop.value.code == 0
    model = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    named = set(re.findall(r"`(?:model\.)?((?:transfer|loss|window|empty)\.\w+)", text))
    assert named
    for option in named:
        group, name = option.split(".")
        assert name in model[group], option
    for option in ("freeze", "layer_decay", "ema", "substitution", "missing", "subsets"):
        assert option in text
        assert option in model
