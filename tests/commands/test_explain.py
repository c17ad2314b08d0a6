"""``brainmvp explain``: counts worked out by hand, and nothing is trained or written."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from brainmvp_lightning.cli import main
from brainmvp_lightning.commands.explain import configurations
from brainmvp_lightning.commands.explain_facts import step_facts
from brainmvp_lightning.commands.explain_paper import departures
from tests.commands.planning import write_config
from tests.datamodules.labelled_cohort import write_cohort

ROOT = Path(__file__).parents[2]
SEGMENT = ROOT / "configs" / "demo" / "segment.yaml"


TWO = ("--trainer.accumulate_grad_batches", "2")


def explained(*words: str) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["explain", *words, "--json"]) == 0
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explain")


@pytest.fixture(scope="module")
def config(folder: Path, cache_folder: Path) -> str:
    return str(write_config(folder, cache_folder))


@pytest.fixture(scope="module")
def facts(config: str) -> dict[str, Any]:
    return explained(config, *TWO)


def test_studies_scans_and_steps_are_those_of_the_cohort(facts: dict[str, Any]) -> None:
    assert facts["data"]["studies"] == {"train": 5, "val": 2, "test": 0}
    scans = {"flair": 3, "t1": 4, "t1ce": 1, "t2": 4, "dwi": 1, "adc": 1}
    assert facts["data"]["scans"] == scans
    assert facts["batch"]["effective"] == 4 * 2
    # Five studies visited four times in batches of four, two of which make a step.
    assert facts["steps"] == {"epochs": 1, "max_steps": None, "per_epoch": 3, "total": 3}


def test_parameters_are_counted_part_by_part(facts: dict[str, Any]) -> None:
    networks = facts["networks"]
    assert networks["templates"] == {"parameters": 8 * 24**3, "shape": [8, 24, 24, 24]}
    parts = [networks[part]["parameters"] for part in ("backbone", "heads", "templates")]
    assert all(parts)
    assert sum(parts) == networks["total"] == networks["trainable"]


def test_schedule_memory_and_outputs_are_said(facts: dict[str, Any], folder: Path) -> None:
    assert facts["optimiser"]["schedule"] == (
        "AdamW from a linear warm-up of 2 epochs to 0.002, cosine decay to 0 over 3 steps, "
        "step by step"
    )
    assert 0.6 < facts["memory"]["gib"] < 2
    assert facts["outputs"]["run_folder"] == str(folder / "run")
    assert facts["outputs"]["callbacks"] == ["LastCheckpoint"]
    assert facts["seed"] == 0
    assert not (folder / "run").exists()


def test_the_text_fits_on_a_screen_and_names_each_departure(
    config: str, facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "-c", config, *TWO]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 60
    text = " ".join(" ".join(lines).split())
    for row in facts["departures"]:
        assert row["option"] in text
    assert f"{facts['networks']['total'] / 1e6:.2f} M learn" in text


def test_a_missing_cache_is_a_note_and_the_rest_goes_on(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explained(config, "--data.cache", "nowhere")
    assert found["data"] is None
    assert found["steps"]["per_epoch"] is None
    assert found["networks"]["total"] > 0
    assert [problem for problem in found["problems"] if "nowhere" in problem]
    assert main(["explain", config, "--data.cache", "nowhere"]) == 0
    assert "not there yet, see the notes" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*studies are left out.*")
def test_a_fine_tuning_is_built_for_its_data(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort")
    words = {
        "data.cache": cohort,
        "data.datasets": "[tumour]",
        "data.crop_size": "[16,16,16]",
        "model.weights": "null",
        "model.substitution": "null",
        "model.freeze": "encoder",
    }
    options = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    found = explained(str(SEGMENT), *options)
    networks = found["networks"]
    assert networks["frozen"] == ["backbone"]
    assert networks["channels"] == ["t1", "t1ce", "t2", "flair"]
    # The demo has no deep supervision, so two layers of 1^3 from 32 and 16 to 3 channels rest.
    resting = (32 * 3 + 3) + (16 * 3 + 3)
    assert networks["trainable"] == networks["heads"]["parameters"] - resting
    assert found["data"]["studies"] == {"train": 3, "val": 2, "test": 1}
    assert {"model.freeze", "model.substitution"} <= {row["option"] for row in found["departures"]}


def test_a_run_folder_and_a_checkpoint_stand_for_their_configuration(
    config: str, tmp_path: Path
) -> None:
    run = tmp_path / "finished"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(config, run / "config.yaml")
    bare, own = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "own.ckpt"
    torch.save({"state_dict": {}}, bare)
    configuration = yaml.safe_load(Path(config).read_text())
    configuration["data"]["init_args"]["batch_size"] = 3
    torch.save({"state_dict": {}, "configuration": configuration}, own)
    file = str(run / "config.yaml")
    assert configurations([str(run), *TWO]) == ["--config", file, *TWO]
    assert configurations(["-c", str(bare)]) == ["-c", file]
    # The value of another option stays what it is.
    assert configurations(["--model.weights", str(bare)]) == ["--model.weights", str(bare)]
    assert explained(str(own), *TWO)["batch"]["effective"] == 6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "no configuration is named"),
        (("demo.yaml",), "there is no configuration file demo.yaml"),
        ((".",), "is no folder of a run"),
        (("none.ckpt",), "there is no checkpoint none.ckpt"),
        (("-c", str(SEGMENT), "--data.bath_size", "3"), "did you mean 'batch_size'?"),
    ],
)
def test_a_wrong_call_is_answered_in_a_sentence(
    words: tuple[str, ...],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: object = main(["explain", *words])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("brainmvp explain: error: ")
    assert expected in error


def test_an_option_of_the_paper_with_another_value_is_a_departure() -> None:
    paper = {"data.batch_size": 3, "data.crop_size": [96, 96, 96], "data.series_per_study": None}
    assert departures("PretrainTask", paper) == []
    assert departures("PretrainTask", {"data.crop_size": (96, 96, 96)}) == []
    (found,) = departures("PretrainTask", {**paper, "data.series_per_study": 4})
    assert (found.fact.paper, found.here, found.is_published) == (None, 4, True)
    # A number is no switch: 1 is not true.
    assert departures("PretrainTask", {"data.shared_modality": 0}) != []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("gradient_clip_val", 1.0),
        ("limit_train_batches", 5),
        ("limit_train_batches", 1),
        ("max_steps", 100),
        ("overfit_batches", 2),
        ("fast_dev_run", True),
        ("precision", "32-true"),
    ],
)
def test_what_makes_the_training_another_one_is_a_departure(option: str, value: object) -> None:
    (found,) = departures("SegmentationTask", {f"trainer.{option}": value})
    assert found.is_published == (option == "precision")


@pytest.mark.parametrize(
    ("options", "per_epoch", "total"),
    [
        ({}, 4, 40),
        ({"fast_dev_run": True}, 1, 1),
        ({"fast_dev_run": 3}, 3, 3),
        ({"overfit_batches": 2}, 2, 20),
        ({"overfit_batches": 0.5}, 2, 20),
        ({"limit_train_batches": 3}, 3, 30),
    ],
)
def test_steps_are_those_that_the_trainer_will_take(
    options: dict[str, Any], per_epoch: int, total: int
) -> None:
    given = {"max_steps": -1, "max_epochs": 10, "limit_train_batches": None, **options}
    trainer = SimpleNamespace(**{"fast_dev_run": False, "overfit_batches": 0.0, **given})
    batch = {"batch_size": 2, "processes": 1, "accumulation": 1}
    facts = {"batch": batch, "data": {"studies": {"train": 8}}, "problems": []}
    found = step_facts(trainer, {}, facts)
    assert (found["per_epoch"], found["total"]) == (per_epoch, total)
