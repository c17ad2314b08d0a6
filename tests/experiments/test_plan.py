"""Plans: which runs there are, and their exact command lines."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from brainmvp_lightning.experiments.arms import AblationArm, check_arm_options
from brainmvp_lightning.experiments.cells import (
    checkpoint_to_test,
    describe,
    differences,
    fingerprint,
)
from brainmvp_lightning.experiments.overrides import flatten
from brainmvp_lightning.experiments.plan import (
    Common,
    plan_ablation,
    plan_label_efficiency,
)
from brainmvp_lightning.studies.splits import labelled_patients
from tests.experiments.making import TASK, write_task

CONFIGS = Path(__file__).parents[2] / "configs"
ARMS = {"scratch": None, "brainmvp": {"model.weights": "runs/encoder.safetensors"}}


def test_each_arm_share_and_seed_is_a_cell(tmp_path: Path) -> None:
    common = Common(write_task(tmp_path), tmp_path / "runs", seeds=(0, 7))
    plan = plan_label_efficiency(common, ARMS, [1.0, 0.2])
    assert [(p.arm, p.fraction, p.seed) for p in plan.places] == [
        (arm, fraction, seed)
        for fraction in (0.2, 1.0)
        for arm in ("scratch", "brainmvp")
        for seed in (0, 7)
    ]
    assert plan.arms == ("scratch", "brainmvp")
    assert len({cell.folder for cell in plan.cells}) == 8


def test_command_lines_are_exact(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    plan = plan_label_efficiency(Common(task, tmp_path / "runs", cache="mine"), ARMS, [0.2])
    cell = plan.cells[1]
    folder = tmp_path / "runs" / "finetune" / "brainmvp" / "fraction_0.2" / "seed_0"
    fit, test = cell.steps
    assert cell.folder == folder
    assert fit.words == (
        *("fit", "--config", str(task), "--config", str(folder / "overrides.yaml")),
        *("--trainer.default_root_dir", str(folder)),
    )
    assert test.words == (
        *("test", "--config", str(folder / "config.yaml")),
        *("--ckpt_path", str(folder / "checkpoints" / "best.ckpt")),
    )
    assert dict(flatten(cell.overrides)) == {
        "trainer.logger.class_path": "CSVLogger",
        "trainer.logger.init_args.save_dir": str(folder),
        "trainer.logger.init_args.name": "l",
        "model.init_args.weights": "runs/encoder.safetensors",
        "seed_everything": 0,
        "data.init_args.label_fraction": 0.2,
        "data.init_args.label_seed": 0,
        "data.init_args.cache": "mine",
    }


def test_smaller_shares_are_part_of_larger_ones_for_each_seed(tmp_path: Path) -> None:
    common = Common(write_task(tmp_path), tmp_path / "runs", seeds=(0, 1))
    plan = plan_label_efficiency(common, {"scratch": None})
    chosen: dict[int, list[set[tuple[str, str]]]] = {0: [], 1: []}
    for place, cell in zip(plan.places, plan.cells, strict=True):
        data = cell.overrides["data"]["init_args"]
        share, seed = data["label_fraction"], data["label_seed"]
        kept = labelled_patients([("toy", str(n)) for n in range(200)], share, seed)
        chosen[place.seed].append(kept)
    for shares in chosen.values():
        assert len(shares) == 5
        assert all(small < large for small, large in pairwise(shares))
    assert chosen[0][0] != chosen[1][0]


def test_an_ablation_pretrains_each_arm_once_and_starts_all_seeds_from_its_encoder(
    tmp_path: Path,
) -> None:
    pretrain = tmp_path / "pretrain.yaml"
    pretrain.write_text(yaml.safe_dump({**TASK, "model": {"class_path": "PretrainTask"}}))
    arms = {
        "none": AblationArm(),
        "reconstruction": AblationArm({"model.init_args.method.init_args.contrast": None}),
        "contrast": AblationArm({}),
    }
    common = Common(write_task(tmp_path), tmp_path / "runs", seeds=(0, 1))
    plan = plan_ablation(common, arms, pretrain, "large")
    assert [cell.name for cell in plan.cells][:2] == [
        "pretrain/reconstruction",
        "pretrain/contrast",
    ]
    assert len(plan.cells) == 2 + 3 * 2
    first = plan.cells[0]
    assert first.steps[0].words[:3] == ("fit", "--config", str(pretrain))
    assert len(first.steps) == 1
    assert first.overrides["model"] == {"init_args": {"method": {"init_args": {"contrast": None}}}}
    assert first.overrides["data"] == {"init_args": {"cache": "large"}}
    weights = {
        (place.arm, cell.overrides["model"]["init_args"]["weights"], cell.needs)
        for place, cell in zip(plan.places, plan.cells[2:], strict=True)
    }
    runs = tmp_path / "runs" / "pretrain"
    assert weights == {
        ("none", None, ()),
        *(
            (arm, str(runs / arm / "encoder.safetensors"), (f"pretrain/{arm}",))
            for arm in ("reconstruction", "contrast")
        ),
    }


@pytest.mark.parametrize(
    ("arms", "fractions", "seeds", "expected"),
    [
        ({}, [1.0], (0,), "no arms"),
        ({"a/b": None}, [1.0], (0,), "cannot name a folder"),
        ({"a": None}, [0.0], (0,), "above 0"),
        ({"a": None}, [20], (0,), "above 0"),
        ({"a": None}, [], (0,), "above 0"),
        ({"a": None}, [1.0], (), "seeds"),
        ({"a": None}, [1.0], (1, 1), "seeds"),
        ({"a": {"data.label_seed": 4}}, [1.0], (0,), "sets itself"),
        ({"a": {"data.init_args.label_fraction": 1}}, [1.0], (0,), "sets itself"),
        ({"a": {"trainer.default_root_dir": "x"}}, [1.0], (0,), "sets itself"),
        ({"a": {"data": {"init_args": {"label_seed": 9}}}}, [1.0], (0,), "overrides data.label_s"),
        ({"a": {"data.init_args": {"label_fraction": 1}}}, [1.0], (0,), "overrides data.label_f"),
        ({"a": {"trainer": {"default_root_dir": "x"}}}, [1.0], (0,), "overrides trainer.default"),
        ({"a": {"data": None}}, [1.0], (0,), "replaces data as a whole"),
        ({"a": {"data.init_args": None}}, [1.0], (0,), "replaces data as a whole"),
    ],
)
def test_what_cannot_be_planned_is_named(
    tmp_path: Path, arms: dict, fractions: list, seeds: tuple, expected: str
) -> None:
    task = write_task(tmp_path)
    with pytest.raises(ValueError, match=expected):
        plan_label_efficiency(Common(task, tmp_path, seeds=seeds), arms, fractions)


def test_shares_that_look_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    common = Common(write_task(tmp_path), tmp_path / "runs")
    plan = plan_label_efficiency(common, {"a": None}, [0.1234561, 0.1234562, 0.5])
    assert [cell.name.split("/")[2] for cell in plan.cells] == [
        "fraction_0.1234561",
        "fraction_0.1234562",
        "fraction_0.5",
    ]


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"callbacks": [{"class_path": "BestCheckpoint"}, "LastCheckpoint"]}, "best.ckpt"),
        ({"callbacks": ["brainmvp_lightning.callbacks.checkpoints.BestCheckpoint"]}, "best.ckpt"),
        ({"callbacks": [{"class_path": "LastCheckpoint"}]}, "last.ckpt"),
        ({"callbacks": ["BestCheckpoint"], "limit_val_batches": 0}, "last.ckpt"),
        ({"callbacks": None}, "last.ckpt"),
    ],
)
def test_the_best_checkpoint_is_tested_where_there_is_one(trainer: dict, expected: str) -> None:
    assert checkpoint_to_test({"trainer": trainer}).name == expected


def test_the_shipped_task_without_validation_is_tested_with_its_last_checkpoint(
    tmp_path: Path,
) -> None:
    task = CONFIGS / "finetune" / "segmentation" / "mrbrains13.yaml"
    (cell,) = plan_label_efficiency(Common(task, tmp_path), {"a": None}, [1.0]).cells
    fit, test = cell.steps
    assert fit.leaves == cell.folder / "checkpoints" / "last.ckpt"
    assert test.words[-1] == str(fit.leaves)


def test_weights_that_are_not_there_are_named_before_any_work(tmp_path: Path) -> None:
    weights = tmp_path / "encoder.safetensors"
    arms = {"scratch": None, "a": {"model.weights": str(weights)}}
    plan = plan_label_efficiency(Common(write_task(tmp_path), tmp_path / "runs"), arms, [1.0])
    with pytest.raises(FileNotFoundError, match="there are no weights"):
        plan.check_weights()
    weights.write_text("")
    plan.check_weights()


def test_a_misspelt_option_of_an_arm_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'pretrain'"):
        check_arm_options({"a": {"pretrian": {}}})


def test_a_description_knows_options_and_contents_but_not_the_order(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_text("one")
    arms = {"a": {"model.weights": str(weights), "trainer.max_epochs": 3}}

    def described() -> dict:
        common = Common(write_task(tmp_path), tmp_path / "runs")
        return describe(plan_label_efficiency(common, arms, [1.0]).cells)

    before = described()["finetune/a/fraction_1/seed_0"]
    arms = {"a": dict(reversed(arms["a"].items()))}
    again = described()["finetune/a/fraction_1/seed_0"]
    assert fingerprint(again) == fingerprint(before)
    assert differences(before, again) == []
    weights.write_text("other")
    arms["a"]["trainer.max_epochs"] = 4
    after = described()["finetune/a/fraction_1/seed_0"]
    changed = differences(before, after)
    assert changed[0] == "trainer.max_epochs was 3, is 4"
    assert len(changed) == 2
    assert str(weights) in changed[1]


def test_other_weights_in_the_file_of_the_task_make_another_run(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_text("one")
    common = Common(write_task(tmp_path, weights=str(weights)), tmp_path / "runs")
    arms = {"kept": None, "none": {"model.weights": None}}
    kept, none = plan_label_efficiency(common, arms, [1.0]).cells
    assert kept.inputs == (weights,)
    assert none.inputs == ()


def test_an_arm_of_an_ablation_has_one_source_of_weights(tmp_path: Path) -> None:
    task = write_task(tmp_path, weights="some.ckpt")
    common = Common(task, tmp_path / "runs")
    arms = {"none": AblationArm(), "given": AblationArm(None, {"model.weights": "other.ckpt"})}
    none, given = plan_ablation(common, arms, task, None).cells
    assert none.overrides["model"]["init_args"]["weights"] is None
    assert given.overrides["model"]["init_args"]["weights"] == "other.ckpt"
    with pytest.raises(ValueError, match=r"'both' overrides model\.weights"):
        plan_ablation(common, {"both": AblationArm({}, {"model.weights": "w"})}, task, None)
