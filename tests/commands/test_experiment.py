"""``brainmvp experiment``: from a YAML file to tables, with a stand-in for the trainer."""

import json
from pathlib import Path

import pytest
import yaml

from brainmvp_lightning.commands.experiment import STUDIES, build_parser, main
from brainmvp_lightning.experiments.overrides import read_config
from tests.experiments.making import STAND_IN, TASK, write_task
from tests.experiments.scores import place, write_dice

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("experiments/*.yaml"))


def study_of(config: Path) -> str:
    return "ablation" if "pretrain" in read_config(config) else "label_efficiency"


def write_study(folder: Path, **options: object) -> str:
    scores = write_dice(place(folder, "scores"), [0.5, 0.7])
    config = folder / "study.yaml"
    settings = {
        "task": str(write_task(folder, scores=str(scores.cases))),
        "runs": str(folder / "runs"),
        "arms": {"scratch": {}, "other": {"model.weights": None}},
        "seeds": [0],
        **options,
    }
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    return str(config)


def test_label_efficiency_ends_in_tables_and_is_done_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["label_efficiency", "--config", write_study(tmp_path, fractions=[0.5, 1.0])]
    assert main(words, STAND_IN) == 0
    said = capsys.readouterr().out
    assert "[4/4] finetune/other/fraction_1/seed_0: finished" in said
    assert "| 50 % | scratch | 1 | 2 | 60.00 |" in said
    for name in ("results.csv", "table.md", "table.tex", "table.csv", "label_efficiency.png"):
        assert (tmp_path / "runs" / name).stat().st_size > 0
    assert main(words, STAND_IN) == 0
    assert capsys.readouterr().out.count("finished before") == 4


def test_an_ablation_fine_tunes_from_the_encoders_it_has_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain = tmp_path / "pretrain.yaml"
    pretrain.write_text(yaml.safe_dump(TASK))
    arms = {"none": {"pretrain": None}, "all": {"pretrain": {"model.fail": False}}}
    config = write_study(tmp_path, arms=arms, pretrain=str(pretrain), seeds=[0, 1], jobs=2)
    assert main(["ablation", "--config", config], STAND_IN) == 0
    assert (tmp_path / "runs" / "ablation.png").is_file()
    changes = read_config(tmp_path / "runs/finetune/all/fraction_1/seed_1/overrides.yaml")
    encoder = tmp_path / "runs" / "pretrain" / "all" / "encoder.safetensors"
    assert changes["model"]["init_args"]["weights"] == str(encoder)
    assert "| all | 2 | 2 | 60.00 ± 0.00 |" in capsys.readouterr().out


def test_a_failed_run_gives_exit_code_1_and_the_tables_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"scratch": {}, "bad": {"model.fail": True}}
    config = write_study(tmp_path, arms=arms, fractions=[1.0])
    assert main(["label_efficiency", "--config", config], STAND_IN) == 1
    told = capsys.readouterr()
    assert "1 failed: finetune/bad/fraction_1/seed_0" in told.err
    assert "the loss is NaN" in told.out
    assert "Unfinished: 1 of 2 runs." in told.out


def test_a_failed_pretraining_fails_the_ablation_without_its_fine_tunings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain = tmp_path / "pretrain.yaml"
    pretrain.write_text(yaml.safe_dump(TASK))
    arms = {"none": {}, "bad": {"pretrain": {"model.fail": True}}}
    config = write_study(tmp_path, arms=arms, pretrain=str(pretrain))
    assert main(["ablation", "--config", config], STAND_IN) == 1
    error = capsys.readouterr().err
    assert "1 failed: pretrain/bad; 1 not run for that: finetune/bad/fraction_1/seed_0" in error


def test_only_the_report_is_made_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_study(tmp_path, fractions=[1.0], arms={"scratch": {}})
    words = ["label_efficiency", "--config", config]
    assert main([*words, "--report_only"], STAND_IN) == 1
    assert "no run" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main(words, STAND_IN) == 0
    (tmp_path / "runs" / "table.md").unlink()
    assert main([*words, "--report-only"], ("no", "program")) == 0
    assert (tmp_path / "runs" / "table.md").is_file()


def test_the_report_leaves_out_and_names_what_another_plan_made_or_is_not_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"scratch": {}, "other": {}, "third": {}}
    words = ["label_efficiency", "--config", write_study(tmp_path, fractions=[1.0], arms=arms)]
    assert main(words, STAND_IN) == 0
    note = tmp_path / "runs/finetune/third/fraction_1/seed_0/cell.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "done": ["fit"]}))
    changed = {**arms, "other": {"model.dice": 0.9}}
    write_study(tmp_path, fractions=[1.0], arms=changed)
    capsys.readouterr()
    assert main([*words, "--report_only"], ("no", "program")) == 0
    said = capsys.readouterr().out
    assert "| scratch | 1 |" in said
    assert "| other |" not in said
    assert "left out: finetune/other/fraction_1/seed_0: made by another plan: model" in said
    assert "left out: finetune/third/fraction_1/seed_0: its test is not done" in said


def test_a_changed_plan_is_refused_and_redone_with_rerun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_study(tmp_path, fractions=[1.0], arms={"scratch": {}})
    words = ["label_efficiency", "--config", config]
    assert main(words, STAND_IN) == 0
    more = ["--overrides", "{trainer.max_epochs: 3}"]
    assert main([*words, *more], STAND_IN) == 1
    error = capsys.readouterr().err
    assert "trainer.max_epochs was not given, is 3" in error
    assert "--rerun" in error
    assert main([*words, *more, "--rerun"], STAND_IN) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["label_eficiency"], "did you mean 'label_efficiency'"),
        (["label_efficiency", "--fractions", "[2.0]"], "above 0 and at most 1"),
        (["label_efficiency", "--seeds", "[]"], "seeds"),
        (["label_efficiency", "--jobs", "0"], "jobs is 0"),
        (["label_efficiency", "--task", "none.yaml"], "no training configuration none.yaml"),
        (["label_efficiency", "--arms", "{a: {model.weights: gone.ckpt}}"], "no weights gone.ckpt"),
    ],
)
def test_a_wrong_call_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    study, *more = words
    assert main([study, "--config", write_study(tmp_path), *more], STAND_IN) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_misspelt_option_is_answered_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_study(tmp_path, fraction=[1.0])
    with pytest.raises(SystemExit) as stop:
        main(["label_efficiency", "--config", config])
    assert stop.value.code == 2
    assert "did you mean 'fractions'" in capsys.readouterr().err


def test_help_names_the_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(study in text for study in STUDIES)


@pytest.mark.parametrize("config", SHIPPED, ids=lambda path: path.name)
def test_shipped_studies_are_complete_and_point_at_shipped_files(config: Path) -> None:
    options = build_parser(study_of(config)).parse_args(["--config", str(config)])
    written = read_config(config)
    running = {"config", "rerun", "report_only"}
    assert set(written) == set(vars(options)) - running
    for name in {"task", "pretrain"} & set(written):
        assert (CONFIGS.parent / written[name]).is_file(), written[name]
    assert options.seeds
