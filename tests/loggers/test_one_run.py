"""What a run with several loggers leaves: the same numbers everywhere, and no private words."""

import csv
import getpass
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from brainmvp_lightning.commands.weights import main as weights
from tests.loggers.conftest import COHORT, QUIET, fit
from tests.loggers.wandb_file import OfflineRun, read_run
from tests.training import small_data, small_task, small_trainer

pytestmark = QUIET
Points = dict[tuple[str, int], float]
"""Values by metric and step."""


def table(run: Path) -> Points:
    points: Points = {}
    with (run / "logs" / "version_0" / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            points |= {(name, step): float(value) for name, value in row.items() if value}
    return points


def tensorboard(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "logs" / "tensorboard" / "version_0"))
    events.Reload()
    return events


@pytest.fixture(scope="module")
def offline(run: Path) -> OfflineRun:
    (file,) = run.glob("logs/wandb/offline-run-*/run-*.wandb")
    return read_run(file)


def test_all_loggers_have_the_same_metrics_with_the_same_values(
    run: Path, offline: OfflineRun
) -> None:
    events = tensorboard(run)
    from_events = {
        (name, event.step): event.value
        for name in events.Tags()["scalars"]
        for event in events.Scalars(name)
    }
    from_wandb = {
        (name, row["trainer/global_step"]): value
        for row in offline.rows
        for name, value in row.items()
        if not name.startswith(("_", "trainer/", "pictures/"))
    }
    expected = table(run)
    assert {name for name, _ in expected} >= {"train/total", "val/dice", "val/dice_WT", "epoch"}
    assert from_events == pytest.approx(expected)
    assert from_wandb == pytest.approx(expected)


def test_every_metric_is_in_the_table_of_the_documentation(
    run: Path, cache_folder: Path, tmp_path: Path
) -> None:
    text = (Path(__file__).parents[2] / ".github" / "docs" / "logging.md").read_text()
    cells = re.findall(r"^\| (`[^|]*`) \| ", text[text.index("## Metrics") :], re.MULTILINE)
    names = re.findall(r"`([\w/<>]+)`", " ".join(cells))
    known = [re.sub(r"<\w+>", r"\\w+", name) for name in names]
    trainer = small_trainer(tmp_path, epochs=1)
    trainer.fit(small_task(), small_data(cache_folder))
    pretraining = {*trainer.callback_metrics} - {"train/loss", "val/loss"}  # those of the bar
    assert len(pretraining) > 50
    for name in {*pretraining, *(name for name, _ in table(run))}:
        assert any(re.fullmatch(pattern, name) for pattern in known), name


def test_wandb_counts_by_global_step_and_is_told_the_configuration_once(
    run: Path, offline: OfflineRun
) -> None:
    assert offline.axes == {"trainer/global_step": "", "*": "trainer/global_step"}
    assert offline.config_updates == 1
    assert offline.config["trainer"]["max_epochs"] == 2
    assert offline.config["data"]["init_args"]["cache"] == "cache"
    assert json.loads((run / "logs" / "wandb_run.json").read_text())["id"] == offline.id


def test_pictures_go_to_the_run_folder_and_to_loggers_that_take_them(
    run: Path, offline: OfflineRun
) -> None:
    names = sorted(path.name for path in (run / "pictures").iterdir())
    assert names == ["overlay_0001.png", "overlay_0002.png"]
    assert len(tensorboard(run).Images("pictures/overlay")) == 2
    sent = [row for row in offline.rows if any(name.startswith("pictures/overlay") for name in row)]
    assert len(sent) == 2


def published(run: Path) -> Iterator[tuple[str, bytes]]:
    for path in [*run.glob("logs/wandb/**/*"), *run.glob("logs/tensorboard/**/*")]:
        name = str(path.relative_to(run))
        yield name, path.read_bytes() if path.is_file() else b""


def test_nothing_that_loggers_write_tells_of_people_or_the_machine(
    run: Path, private: Path
) -> None:
    words = [study.name for study in COHORT] + ["subject-", private.name, str(Path.home())]
    words += [str(Path.cwd()), "pytest", "github.com"]
    # Short names of hosts and users occur in any bytes, so these are looked for as words of text.
    short = [socket.gethostname(), getpass.getuser()]
    files = dict(published(run))
    assert any(b"val/dice_WT" in files[name] for name in files if name.endswith(".wandb"))
    for name, content in files.items():
        assert not [word for word in words if word.encode() in content or word in name], name
        if len(short[0]) > 4:
            assert not [word for word in short[:1] if word.encode() in content], name
        assert not {*short} & set(Path(name).name.split(".")), name
    told = yaml.safe_load((run / "logs/tensorboard/version_0/hparams.yaml").read_text())
    assert told["trainer"]["default_root_dir"] == "run"


def test_a_checkpoint_and_the_record_say_what_the_run_was(run: Path, private: Path) -> None:
    text = (run / "run.json").read_text()
    record = json.loads(text)
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["run"] == record
    assert saved["configuration"]["data"]["init_args"]["cache"] == str(private / "cache")
    assert list(record) == [
        *("format", "command", "continues", "started", "seed", "world_size", "device"),
        *("versions", "plugins", "git", "data", "parameters", "configuration_hash"),
    ]
    assert record["data"]["studies"] == {"train": 2, "val": 2, "test": 0}
    assert record["data"]["scans"] == {"flair": 2, "t1": 2}
    assert (record["seed"], record["device"], record["command"]) == (5, "cpu", "fit")
    counted = sum(value.numel() for name, value in saved["state_dict"].items() if _learns(name))
    assert record["parameters"]["trainable"] == record["parameters"]["total"] == counted
    for word in (private.name, "subject-", str(Path.home()), str(Path.cwd())):
        assert word not in text


def _learns(name: str) -> bool:
    return "running_" not in name and "num_batches" not in name and "templates" not in name


def test_weights_inspect_shows_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    assert weights(["inspect", checkpoint]) == 0
    brief = capsys.readouterr().out
    assert "run:\n  format: 1\n" in brief
    assert "max_epochs" not in brief
    assert weights(["inspect", checkpoint, "--configuration"]) == 0
    assert "    max_epochs: 2\n" in capsys.readouterr().out


def test_last_goes_on_with_the_same_run_of_wandb(run: Path, private: Path) -> None:
    fit(private, "--trainer.max_epochs", "3", "--ckpt_path", "last")
    files = sorted(run.glob("logs/wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    first, second = (read_run(file) for file in files)
    assert first.id == second.id
    last = max(row["trainer/global_step"] for row in first.rows)
    assert min(row["trainer/global_step"] for row in second.rows) >= last
    assert (run / "logs" / "version_1" / "metrics.csv").is_file()
    fit(private, "--trainer.max_epochs", "1")
    newest = json.loads((run / "logs" / "wandb_run.json").read_text())["id"]
    assert newest != first.id  # begun anew, it is another run
