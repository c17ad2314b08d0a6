"""Trials of a sweep do not share folders."""

from pathlib import Path

import pytest
from jsonargparse import Namespace
from wandb import env

from brainmvp_lightning.commands.sweep_folder import RUN_ID, SWEEP_ID, follow_agent
from brainmvp_lightning.commands.sweep_reader import FitReader

CONFIG = Path(__file__).parents[2] / "configs" / "demo" / "pretrain.yaml"
MOVED = "runs/demo/pretrain/sweeps/abc/run7"
AGENT = {SWEEP_ID: "abc", RUN_ID: "run7"}


def test_names_are_those_of_wandbs_agent() -> None:
    assert (SWEEP_ID, RUN_ID) == (env.SWEEP_ID, env.RUN_ID)


def test_fit_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, words = FitReader(), ["fit", "-c", str(CONFIG), "--trainer.logger", "tensorboard"]
    words += ["--trainer.logger.save_dir", "runs/demo/pretrain/boards"]
    for name, value in AGENT.items():
        monkeypatch.setenv(name, value)
    config, reason = reader.read(words)
    assert config is not None, reason
    assert config.trainer.default_root_dir == MOVED
    assert config.trainer.logger.init_args.save_dir == f"{MOVED}/boards"


def options(command: str = "fit", root: str | None = "runs/a", **more: object) -> Namespace:
    trainer = Namespace(default_root_dir=root, **more)
    return Namespace(**{"subcommand": command, command: Namespace(trainer=trainer)})


def test_loggers_go_along() -> None:
    places = ["runs/a", "runs/a/logs", "elsewhere", None]
    loggers = [Namespace(class_path="x", init_args=Namespace(save_dir=one)) for one in places]
    config = options(logger=[*loggers, Namespace(class_path="y")])
    follow_agent(config, AGENT)
    moved = "runs/a/sweeps/abc/run7"
    assert [one.init_args.save_dir for one in loggers] == [moved, f"{moved}/logs", moved, None]
    follow_agent(config, AGENT)  # as from the config.yaml of such a run
    assert config.fit.trainer.default_root_dir == moved


@pytest.mark.parametrize("logger", [None, True, False])
def test_a_run_without_a_folder_gets_one(logger: bool | None) -> None:
    config = options(root=None, logger=logger)
    follow_agent(config, AGENT)
    assert config.fit.trainer.default_root_dir == "sweeps/abc/run7"


def test_other_commands_and_runs_without_an_agent_stay_where_they_are() -> None:
    for config, environment in (
        (options("test"), AGENT),
        (options(), {RUN_ID: "run7"}),
        (options(), {**AGENT, RUN_ID: ""}),
    ):
        follow_agent(config, environment)
        assert config[config.subcommand].trainer.default_root_dir == "runs/a"
