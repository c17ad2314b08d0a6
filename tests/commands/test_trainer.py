"""``brainmvp fit``: one word swaps a part, and a wrong one ends the call before any work."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.cli import main
from brainmvp_lightning.commands.trainer import nulls_as_configs

CONFIG = Path(__file__).parents[2] / "configs" / "pretrain" / "brainmvp_uniformer.yaml"


def resolved(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(CONFIG), *words, "--print_config"])
    assert stop.value.code == 0
    task: dict[str, object] = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    return task


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["fit", *words])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_a_backbone_is_swapped_by_one_word(capsys: pytest.CaptureFixture[str]) -> None:
    backbone = resolved(capsys, "--model.backbone", "unet3d")["backbone"]
    assert backbone["class_path"] == "brainmvp_lightning.backbones.registry.unet3d"  # type: ignore[index]


def test_a_full_class_path_and_dotted_overrides_work(capsys: pytest.CaptureFixture[str]) -> None:
    backbone = resolved(
        capsys,
        "--model.backbone",
        "brainmvp_lightning.backbones.unet3d.UNET3D",
        "--model.backbone.widths",
        "[8, 16]",
    )["backbone"]
    assert backbone["init_args"]["widths"] == [8, 16]  # type: ignore[index]


def test_a_term_is_removed_by_null(capsys: pytest.CaptureFixture[str]) -> None:
    method = resolved(capsys, "--model.method.contrast", "null")["method"]
    assert method["init_args"]["contrast"] is None  # type: ignore[index]
    assert method["init_args"]["distillation"] is not None  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--model.backbone", "uniformer_smal"), "did you mean 'uniformer_small'"),
        (("--model.method.masking", "grid_block"), "did you mean 'grid_blocks'"),
        (("--model.method.maskin", "grid_blocks"), "did you mean 'masking'"),
        (("--model.backbone.depts", "[1,1,1,1]"), "did you mean 'depths'"),
        (("--model.optimizer.learning_rate", "fast"), "learning_rate"),
        (("--trainer.max_epoch", "3"), "did you mean 'max_epochs'"),
        (("--data.crop_sizes", "[96,96,96]"), "did you mean 'crop_size'"),
        (("--model", "PretrainTsk"), "did you mean 'PretrainTask'"),
        # what is cut short is misspelt, at any depth
        (("--model.optimizer.learning_rat", "1"), "did you mean 'learning_rate'"),
        (("--model.method.masking.rati=0.5",), "did you mean 'ratio'"),
        (("--data.batch_siz", "2"), "did you mean 'batch_size'"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    text = failure(capsys, "--config", str(CONFIG), *words)
    assert expected in text
    assert len(text.splitlines()) == 2, text


def test_a_typo_in_a_file_is_answered_like_one_on_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG.read_text().replace("block_size", "blok_size"))
    assert "did you mean 'block_size'" in failure(capsys, "--config", str(config))


def test_a_cache_that_is_not_there_ends_the_call_in_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = failure(
        capsys,
        *("--config", str(CONFIG), "--model.backbone", "uniformer_tiny"),
        *("--model.method.templates.shape", "[8,8,8]", "--trainer.accelerator", "cpu"),
        *("--data.cache", str(tmp_path / "none"), "--trainer.default_root_dir", str(tmp_path)),
        *("--trainer.logger", "false", "--trainer.precision", "32-true"),
    )
    assert "brainmvp prepare" in text
    assert str(tmp_path / "none") in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--data.crop_size", "[20,20,20]"), "must be multiples of 8"),
        (("--model.method.masking.block_size", "5"), "multiples of 5|block_size|cubes of 5"),
        (("--model.method.templates.modalities", "[t1]"), "t2"),
    ],
)
def test_what_does_not_fit_the_data_ends_the_call_before_training(
    capsys: pytest.CaptureFixture[str],
    cache_folder: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    expected: str,
) -> None:
    demo = CONFIG.parents[1] / "demo" / "pretrain.yaml"
    text = failure(
        capsys,
        *("--config", str(demo), "--data.cache", str(cache_folder)),
        *("--data.crop_size", "[16,16,16]", "--model.method.templates.shape", "[8,8,8]"),
        *("--trainer.default_root_dir", str(tmp_path), "--trainer.logger", "false"),
        *words,
    )
    assert re.search(expected, text)
    assert len(text.splitlines()) == 1, text


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("data.clip.over", {"data": {"init_args": {"clip": {"over": None}}}}),
        ("data.init_args.clip.over", {"data": {"init_args": {"clip": {"over": None}}}}),
        ("model.optimizer.betas", {"model": {"init_args": {"optimizer": {"betas": None}}}}),
        (
            "model.method.contrast",
            {"model": {"init_args": {"method": {"init_args": {"contrast": None}}}}},
        ),
    ],
)
def test_null_stands_where_the_parser_looks_for_it(option: str, expected: dict[str, Any]) -> None:
    assert nulls_as_configs([f"--{option}", "null"]) == ["--config", json.dumps(expected)]
