"""Keys, values and metrics of sweeps are checked with the parser that the trials use."""

import sys
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace

from brainmvp_lightning.commands import sweep_lint
from brainmvp_lightning.commands.sweep import main
from brainmvp_lightning.commands.sweep_lint import lint
from brainmvp_lightning.commands.sweep_metrics import validation_metrics
from tests.sweeps.making import COMMAND, RATE, ROOT, SHIPPED, write_sweep

MASKING = "model.init_args.method.init_args.masking"
BACKBONE = "model.init_args.backbone"
SEGMENT = str(ROOT / "configs" / "finetune" / "segmentation" / "brats2023_ped.yaml")
ONE_RATE = {RATE: {"value": 0.001}}
CLASSIFY = str(ROOT / "configs" / "finetune" / "classification" / "abide.yaml")


def findings(folder: Path, **changes: Any) -> tuple[list[str], list[str]]:
    _, found = lint(write_sweep(folder, **changes))
    return found.faults, found.notes


def test_each_wrong_key_and_value_is_named_and_nothing_else(tmp_path: Path) -> None:
    parameters = {
        RATE: {"values": [0.1, "fast"]},
        "trainer.max_epoch": {"value": 3},
        "data.batch_size": {"distribution": "uniform", "min": 1.0, "max": 4.0},
        BACKBONE: {"values": ["unet3d", "uniformer_smal"]},
        "model.method.contrast": {"values": [None]},
    }
    faults, _ = findings(tmp_path, method="random", parameters=parameters)
    assert len(faults) == 6
    assert faults[0].startswith(f'{RATE} cannot be "fast": ')
    assert "unknown option 'trainer.max_epoch'; did you mean 'trainer.max_epochs'" in faults[1]
    assert [fault.partition(":")[0] for fault in faults[2:5]] == [
        f"data.batch_size cannot be {value}" for value in (1.0, 2.11, 4.0)
    ]
    assert f'{BACKBONE} cannot be "uniformer_smal": ' in faults[5]
    assert "did you mean 'uniformer_small'" in faults[5]


def test_a_class_and_its_options_must_both_arrive(tmp_path: Path) -> None:
    ratio = {f"{MASKING}.init_args.ratio": {"value": 0.75}}
    classes = {"value": "random_cubes"}  # in the place of grid_blocks
    faults, _ = findings(tmp_path, parameters={MASKING: classes, **ratio})
    assert len(faults) == 1
    assert faults[0].startswith(
        f"{MASKING}.init_args.ratio is tried together with {MASKING}, and with "
        '"random_cubes" this is refused'
    )
    assert faults[0].endswith(f"; name the class by {MASKING}.class_path")
    faults, notes = findings(tmp_path, parameters={f"{MASKING}.class_path": classes, **ratio})
    assert not faults
    assert any("compare the encoders by fine-tuning" in note for note in notes)
    rounding = {f"{MASKING}.init_args.rounding": {"value": "nearest"}}
    faults, _ = findings(tmp_path, parameters={f"{MASKING}.class_path": classes, **rounding})
    assert len(faults) == 1
    assert 'and with "random_cubes" this is refused' in faults[0]


@pytest.mark.parametrize(
    ("base", "name", "goal", "sentence"),
    [
        (COMMAND[4], "val/cros_modal", "minimize", "did you mean 'val/cross_modal'"),
        (COMMAND[4], "val/total", "maximize", "for val/total it is minimize"),
        (COMMAND[4], "val/masked_share", "minimize", "is neither good nor bad"),
        (COMMAND[4], "val/dice", "maximize", "PretrainTask logs no 'val/dice' in validation"),
        (SEGMENT, "val/dice_ET", "minimize", "for val/dice_ET it is maximize"),
        (SEGMENT, "val/total", "minimize", "it logs val/dice, val/dice_REGION)"),
        (CLASSIFY, "val/auc", "minimize", "for val/auc it is maximize"),
        (CLASSIFY, "val/auc", "maximize", ""),
    ],
)
def test_the_metric_is_one_that_the_task_logs(
    tmp_path: Path, base: str, name: str, goal: str, sentence: str
) -> None:
    command = [base if word == COMMAND[4] else word for word in COMMAND]
    metric = {"name": name, "goal": goal}
    faults, _ = findings(
        tmp_path, metric=metric, command=command, parameters={RATE: {"value": 0.001}}
    )
    assert len(faults) == bool(sentence)
    assert sentence in "".join(faults)


def test_a_base_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = [word.replace("pretrain.yaml", "pretrian.yaml") for word in COMMAND]
    faults, _ = findings(tmp_path, command=command)
    assert len(faults) == 1
    assert "there is no configuration file" in faults[0]
    assert "pretrain.yaml" in faults[0]


def test_what_works_but_misleads_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weight = "model.init_args.method.init_args.distillation.init_args.weight"
    metric = {"name": "val/total", "goal": "minimize"}
    path = write_sweep(tmp_path, metric=metric, parameters={weight: {"values": [1.0, 2.0]}})
    assert main(["lint", str(path)]) == 0
    said = capsys.readouterr().out
    assert "note: val/total is a weighted sum" in said
    assert "note: wandb's server would see no metric; put --trainer.logger wandb" in said
    assert "grid of 2 over 1 parameter, minimize val/total" in said


@pytest.mark.parametrize(
    "paths", [pytest.param(SHIPPED, marks=pytest.mark.slow, id="all"), [SHIPPED[0]]]
)
def test_shipped_sweeps_are_without_fault(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["lint", *map(str, paths)]) == 0
    assert "wandb's server would see no metric" not in capsys.readouterr().out


def test_options_after_the_values_that_would_win_are_named(tmp_path: Path) -> None:
    for words in (
        ["--model.optimizer.learning_rate", "0.5"],
        ["--model.init_args.optimizer.learning_rate=0.5"],
        ["--model.optimizer", "adamw"],
    ):
        faults, _ = findings(tmp_path, command=[*COMMAND, *words], parameters=ONE_RATE)
        name = words[0].partition("=")[0]
        assert faults == [
            f"{name} comes after the values and would win over {RATE}; put it before them"
        ]
    for word in ("--config=x.yaml", "-cx.yaml"):
        faults, _ = findings(tmp_path, command=[*COMMAND, word], parameters=ONE_RATE)
        assert "comes before another -c, whose values would win" in faults[0]
    other = ["--trainer.max_epochs", "2"]
    assert findings(tmp_path, command=[*COMMAND, *other], parameters=ONE_RATE)[0] == []


def test_a_base_file_may_be_named_in_each_way_that_fit_knows(tmp_path: Path) -> None:
    base, rest = COMMAND[4], COMMAND[5:]
    for words in ([f"--config={base}"], [base], [f"-c{base}"]):
        command = [*COMMAND[:3], *words, *rest]
        assert findings(tmp_path, command=command, parameters=ONE_RATE)[0] == []


def test_values_that_are_refused_only_together_are_named_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sweep_lint.read_trial

    def refuse(sweep: Any, values: dict[str, Any]) -> Any:
        return (None, "too many") if len(values) == 2 else read(sweep, values)

    monkeypatch.setattr(sweep_lint, "read_trial", refuse)
    faults, _ = findings(tmp_path, parameters={**ONE_RATE, "data.batch_size": {"value": 2}})
    assert faults == [
        f'{{"{RATE}": 0.001, "data.batch_size": 2}} is refused as a whole: too many',
    ]


def test_each_step_of_a_grid_is_parsed(tmp_path: Path) -> None:
    steps = {"distribution": "q_uniform", "min": 1, "max": 3, "q": 0.5}
    faults, _ = findings(tmp_path, parameters={"data.batch_size": steps})
    assert [fault.partition(":")[0] for fault in faults] == [
        f"data.batch_size cannot be {value}" for value in (1.0, 1.5, 2.0, 2.5)
    ]


def test_of_tasks_and_methods_of_others_no_metric_is_known() -> None:
    task = "brainmvp_lightning.tasks.pretrain.PretrainTask"
    own = "brainmvp_lightning.methods.registry.brainmvp"
    other = "brainmvp_lightning.methods.registry.mine"
    for task_path, method_path in (
        (task, "mine.Method"),
        (task, other),
        ("mine.PretrainTask", own),
    ):
        method = Namespace(class_path=method_path)
        model = Namespace(class_path=task_path, init_args=Namespace(method=method))
        assert validation_metrics(model) is None


def test_metrics_are_those_of_the_trials_not_of_the_base_file(tmp_path: Path) -> None:
    parameters = {"model.init_args.method.init_args.cross_modal": {"value": None}}
    metric = {"name": "val/cross_modal", "goal": "minimize"}
    faults, _ = findings(tmp_path, metric=metric, parameters=parameters)
    assert "PretrainTask logs no 'val/cross_modal'" in faults[0]


def test_modules_of_the_command_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts_of_a_sweep.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for words, is_known in (
        (["--import", "parts_of_a_sweep"], True),
        (["--import=parts_of_a_swep"], False),
    ):
        command = [*COMMAND[:2], *words, *COMMAND[2:]]
        faults, _ = findings(tmp_path, command=command, parameters=ONE_RATE)
        assert ("parts_of_a_sweep" in sys.modules, faults == []) == (True, is_known)
