"""Dotted names become what the trainer's parser merges into a configuration."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.cli import main
from brainmvp_lightning.experiments.overrides import (
    dump,
    expand,
    flatten,
    merge,
    read_config,
    run_folder,
)

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "pretrain.yaml"


def test_init_args_are_added_where_a_class_is_and_nowhere_else() -> None:
    base = read_config(DEMO)
    tree = expand(
        {
            "model.weights": "w",
            "model.method.contrast": None,
            "model.method.init_args.templates.shape": [8, 8, 8],
            "model.backbone.depths": [1],
            "model.optimizer.learning_rate": 0.1,
            "trainer.logger.name": "l",
            "trainer.max_epochs": 2,
            "seed_everything": 4,
        },
        base,
    )
    assert dict(flatten(tree)) == {
        "model.init_args.weights": "w",
        "model.init_args.method.init_args.contrast": None,
        "model.init_args.method.init_args.templates.shape": [8, 8, 8],
        "model.init_args.backbone.init_args.depths": [1],
        "model.init_args.optimizer.learning_rate": 0.1,
        "trainer.logger.init_args.name": "l",
        "trainer.max_epochs": 2,
        "seed_everything": 4,
    }


def test_mappings_merge_and_later_ones_win() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"d": []}) == {
        "a": {"b": None, "c": 2},
        "d": [],
    }


@pytest.mark.parametrize(
    "names", [("data.clip", "data.clip.lower"), ("data.clip.lower", "data.clip")]
)
def test_names_at_odds_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="another override; give one of the two"):
        expand(dict.fromkeys(names, 1), {})


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        (None, {}),
        (False, {}),
        ("CSVLogger", {"class_path": "CSVLogger", "init_args": {"save_dir": "run"}}),
        (
            [{"class_path": "A", "init_args": {"x": 1}}],
            [{"class_path": "A", "init_args": {"x": 1, "save_dir": "run"}}],
        ),
        ("csv", {}),
        (["csv", "brainmvp_lightning.loggers.registry.wandb"], {}),
        (
            {"class_path": "wandb", "init_args": {"save_dir": "elsewhere"}},
            {"class_path": "wandb", "init_args": {"save_dir": "run"}},
        ),
    ],
)
def test_logs_go_to_the_folder_of_the_run_whatever_the_logger(logger: Any, expected: Any) -> None:
    tree = run_folder({"trainer": {"logger": logger}}, Path("run"))
    assert tree == ({"trainer": {"logger": expected}} if expected else {})


def test_missing_and_damaged_configurations_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no training configuration"):
        read_config(tmp_path / "none.yaml")
    for text in ("a: [", "- a\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.yaml"):
            read_config(tmp_path / "bad.yaml")


def test_the_real_trainer_merges_nulls_lists_and_nested_options(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base = read_config(DEMO)
    changes = {
        "seed_everything": 3,
        "model.method.contrast": None,
        "model.method.templates.shape": [8, 8, 8],
        "data.cache": "other",
        "data.crop_size": [16, 16, 16],
        "trainer.callbacks": [],
    }
    second = tmp_path / "overrides.yaml"
    second.write_text(dump(merge(run_folder(base, tmp_path), expand(changes, base))))
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(DEMO), "--config", str(second), "--print_config"])
    assert stop.value.code == 0
    merged = yaml.safe_load(capsys.readouterr().out)
    method = merged["model"]["init_args"]["method"]["init_args"]
    assert method["contrast"] is None
    assert method["distillation"]["init_args"]["weight"] == 1.0
    assert method["templates"]["shape"] == [8, 8, 8]
    assert method["templates"]["lr_scale"] == 8.0
    assert merged["data"]["init_args"]["cache"] == "other"
    assert merged["data"]["init_args"]["crop_size"] == [16, 16, 16]
    assert merged["data"]["init_args"]["batch_size"] == 4
    assert merged["trainer"]["callbacks"] == []
    assert merged["trainer"]["logger"]["init_args"]["save_dir"] is None  # the run folder
    assert merged["seed_everything"] == 3
