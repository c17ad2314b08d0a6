"""The paper's presets are the paper's; the published code's preset departs where that code does."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.cli import main
from brainmvp_lightning.commands.explain_options import flat_options
from brainmvp_lightning.commands.explain_paper import FACTS, Departure, departures

CONFIGS = Path(__file__).parents[2] / "configs"
PRETRAIN = sorted(CONFIGS.glob("pretrain/brainmvp_*.yaml"))
FINE_TUNING = sorted(CONFIGS.glob("finetune/*/*.yaml"))


def resolved(config: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(config), "--print_config"])
    assert stop.value.code == 0
    return flat_options(yaml.safe_load(capsys.readouterr().out))


def departures_of(config: Path, capsys: pytest.CaptureFixture[str]) -> list[Departure]:
    options = resolved(config, capsys)
    return departures(options["model"], options)


@pytest.mark.parametrize("config", [*PRETRAIN, *FINE_TUNING], ids=lambda path: path.stem)
def test_presets_of_the_paper_depart_in_what_they_name_only(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {each.fact.option for each in departures_of(config, capsys)}
    assert found == set()


def test_the_published_preset_departs_exactly_where_the_published_code_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = CONFIGS / "pretrain" / "official.yaml"
    found = departures_of(config, capsys)
    assert [each.fact.option for each in found if not each.is_published] == []
    known = {fact.option for fact in FACTS["PretrainTask"] if fact.published is not None}
    assert {each.fact.option for each in found} == known | {"trainer.sync_batchnorm"}


def test_each_comment_of_the_published_preset_is_a_departure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = CONFIGS / "pretrain" / "official.yaml"
    found = {each.fact.option.rpartition(".")[2] for each in departures_of(config, capsys)}
    commented = [
        line.strip().partition(":")[0]
        for line in config.read_text().splitlines()
        if "# published" in line and "class_path" not in line
    ]
    assert len(commented) >= 10
    # clip and init_args hold several options each.
    assert {*commented} - {"clip", "init_args"} <= found
    assert {"lower", "upper", "over", "weight", "masking"} <= found


def test_each_fact_is_about_an_option_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "PretrainTask": [*PRETRAIN, CONFIGS / "pretrain" / "official.yaml"],
        "SegmentationTask": [CONFIGS / "finetune" / "segmentation" / "vsseg.yaml"],
        "ClassificationTask": [CONFIGS / "finetune" / "classification" / "adni.yaml"],
    }
    for task, configs in files.items():
        known = {option for config in configs for option in resolved(config, capsys)}
        lost = [fact.option for fact in FACTS[task] if fact.option not in known]
        assert [o for o in lost if o != "model.substitution"] == []
