"""What the documentation of the data engine shows is what the program takes."""

import re
from pathlib import Path

import pytest
import yaml

from brainmvp_lightning.cli import main

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
    shipped = {path.stem for path in (ROOT / "configs" / "prepare").glob("*.yaml")} - {"demo"}
    assert set(names) == shipped
    for path in re.findall(r"`(tests/[\w/]+\.py)`", TEXT):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("page", ["README.md", ".github/docs/data.md", ".github/CONTRIBUTING.md"])
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        if not target.startswith("http"):
            assert (folder / target).exists(), target
