"""One word names a logger, and every run keeps a table."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.loggers import CSVLogger, Logger

from brainmvp_lightning.cli import main
from brainmvp_lightning.loggers.choosing import loggers_of
from brainmvp_lightning.loggers.csv import CSVTable
from brainmvp_lightning.loggers.place import RunPlace, next_version
from brainmvp_lightning.loggers.registry import LOGGERS
from brainmvp_lightning.loggers.tensorboard import TensorBoardEvents
from brainmvp_lightning.loggers.wandb import WandbRun
from brainmvp_lightning.tasks.base import SetupError

CONFIG = Path(__file__).parents[2] / "configs" / "pretrain" / "brainmvp_uniformer.yaml"


def logger_of(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(CONFIG), *words, "--print_config"])
    assert stop.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)["trainer"]["logger"]


def test_a_logger_and_its_options_are_words_of_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("--trainer.logger", "wandb", "--trainer.logger.mode", "offline")
    logger = logger_of(capsys, *words, "--trainer.logger.project", "x")
    assert logger["class_path"] == "brainmvp_lightning.loggers.registry.wandb"
    assert (logger["init_args"]["mode"], logger["init_args"]["project"]) == ("offline", "x")
    assert logger["init_args"]["share_all"] is False


def test_several_loggers_are_a_list_and_those_of_lightning_go_on_working(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loggers = logger_of(capsys, "--trainer.logger", "[csv, tensorboard, CSVLogger]")
    names = [logger["class_path"].rpartition(".")[2] for logger in loggers]
    assert names == ["csv", "tensorboard", "CSVLogger"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--trainer.logger", "wanb"), "did you mean 'wandb'"),
        (("--trainer.logger", "wandb", "--trainer.logger.mod", "offline"), "did you mean 'mode'"),
        (("--trainer.logger", "wandb", "--trainer.logger.mode", "ofline"), "'offline'"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(CONFIG), *words])
    assert stop.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("name", LOGGERS.names())
def test_every_logger_takes_its_place_unless_it_was_given_one(name: str, tmp_path: Path) -> None:
    make: Any = LOGGERS.get(name)
    (logger,) = (one for one in loggers_of(make(), RunPlace(tmp_path, 3)) if isinstance(one, make))
    assert Path(str(logger.save_dir)).is_relative_to(tmp_path)
    elsewhere = make(save_dir=str(tmp_path / "other"))
    loggers_of(elsewhere, RunPlace(tmp_path / "run", 3))
    assert Path(str(elsewhere.save_dir)).is_relative_to(tmp_path / "other")


@pytest.mark.parametrize(
    ("chosen", "kinds"),
    [
        (None, [CSVTable]),
        (True, [CSVTable]),
        (False, []),
        ([TensorBoardEvents()], [TensorBoardEvents, CSVTable]),
        (CSVLogger("somewhere"), [CSVLogger]),
        ([CSVTable(), TensorBoardEvents()], [CSVTable, TensorBoardEvents]),
    ],
)
def test_a_run_keeps_a_table_unless_it_wants_no_logger(
    tmp_path: Path, chosen: Any, kinds: list[type[Logger]]
) -> None:
    assert [type(logger) for logger in loggers_of(chosen, RunPlace(tmp_path, 0))] == kinds


def test_starts_of_a_folder_are_counted_for_all_loggers_alike(tmp_path: Path) -> None:
    assert next_version(tmp_path) == 0
    for name in ("version_0", "version_10", "version_x", "tensorboard"):
        (tmp_path / "logs" / name).mkdir(parents=True)
    assert next_version(tmp_path) == 11
    table, events = loggers_of([CSVTable(), TensorBoardEvents()], RunPlace(tmp_path, 11))
    assert table.log_dir == str(tmp_path / "logs" / "version_11")
    assert events.log_dir == str(tmp_path / "logs" / "tensorboard" / "version_11")


def test_the_run_of_a_sweep_beats_the_one_that_the_folder_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "wandb_run.json").write_text('{"id": "old", "project": "p"}')
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    first, second, third = WandbRun(), WandbRun(), WandbRun()
    first.settle(RunPlace(tmp_path, 0, continues=True))
    second.settle(RunPlace(tmp_path, 0, continues=False))
    monkeypatch.setenv("WANDB_RUN_ID", "chosen")
    third.settle(RunPlace(tmp_path, 0, continues=True))
    assert [first.version, second.version, third.version] == ["old", None, None]


def test_a_machine_without_an_account_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**options: Any) -> None:
        raise wandb.errors.UsageError("api_key not configured (no-tty).")

    monkeypatch.setattr(wandb, "init", refuse)
    logger = WandbRun(save_dir=str(tmp_path))
    with pytest.raises(SetupError, match=r"no-tty\)\); log in with 'wandb login', or .* offline"):
        _ = logger.experiment
