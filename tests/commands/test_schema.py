"""What schemas accept, what they flag, and that the shipped ones are up to date."""

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.cli import main
from brainmvp_lightning.commands.schema import as_text
from brainmvp_lightning.commands.schema_classes import Choice
from brainmvp_lightning.commands.schema_documents import KINDS, Schemas, class_parts
from brainmvp_lightning.commands.schema_text import tidy
from brainmvp_lightning.commands.schema_types import type_schema
from brainmvp_lightning.registry import Registry
from tests.configs.schemas import CONFIGS, SCHEMAS, validator

RIGHT = {
    "fit": [
        "model: PretrainTask",
        "model: {class_path: PretrainTask, init_args: {backbone: unet3d}}",
        "model: {init_args: {backbone: {class_path: unet3d, init_args: {widths: [8, 16]}}}}",
        "model: {init_args: {backbone: my_package.MyNet}}",
        "model: {init_args: {backbone: {class_path: my_package.MyNet, init_args: {a: {b: 1}}}}}",
        "model: {init_args: {backbone: brainmvp_lightning.backbones.registry.unet3d}}",
        "model: {init_args: {head: null, compile: reduce-overhead}}",
        "model: {compile: true}",  # a layer above a file that names the task
        "model.method.contrast: null",
        "model: {init_args: {method: {init_args: {masking: {class_path: grid_blocks}}}}}",
        "trainer: {callbacks: LastCheckpoint, max_time: 00:12:00:00, limit_val_batches: 0.5}",
        "trainer: {callbacks+: [{class_path: EarlyStopping, init_args: {monitor: val/dice}}]}",
        "trainer: {logger: [csv, {class_path: my.Logger}], precision: 32, devices: [0, 1]}",
        "trainer: {strategy: {class_path: DDPStrategy, init_args: {bucket_cap_mb: 25}}}",
        "data: {init_args: {modalities_per_step: all, num_workers: 4, crop_size: [8, 8, 8]}}",
    ],
    "prepare": [
        "source: bids",
        "source: {class_path: brats, init_args: {root: [a, b]}}",
        "label_schemes: {mine: {values: {core: 1}, regions: {core: [core]}}}",
    ],
    "label_efficiency": [
        "arms: {scratch: {model.weights: null}, other: {model.backbone.depths: [1, 1]}}",
        "overrides: {trainer.max_steps: 3, model.init_args.ema: 0.9, seed_everything: 1}",
    ],
    "ablation": ["arms: {none: {pretrain: null}, one: {pretrain: {}, finetune: {}}, two: null}"],
    "sweep": [
        "{program: brainmvp, method: grid, metric: {name: val/dice, goal: maximize}, parameters: "
        "{model.optimizer.learning_rate: {min: 1.0e-5, max: 0.1}, model.backbone: {values: "
        "[unet3d, my.Net]}, model.method.contrast: {value: null}}}",
    ],
}
SWEEP = "{program: brainmvp, method: grid, metric: {name: val/dice}, parameters: {%s}}"
WRONG = {
    "fit": [
        "trainers: {max_epochs: 3}",
        "trainer: {max_epoch: 3}",
        "trainer: {max_epochs: many}",
        "trainer: {precision: 31}",
        "trainer: {callbacks: [LastCheckpiont]}",
        "trainer: {callbacks: [{class_path: LastCheckpoint, init_args: {every_step: 1}}]}",
        "trainer: {callbacks: [{class_pth: LastCheckpoint}]}",
        "trainer: {logger: {class_path: csv, init_args: {nam: x}}}",
        "model: PretrainTsk",
        "model: {class_path: PretrainTask, init_arg: {}}",
        "model: {class_path: PretrainTask, init_args: {loss: {dice: 1.0}}}",  # of another task
        "model: {init_args: {backbone: unet}}",
        "model: {init_args: {backbone: {class_path: unet3d, init_args: {width: 16}}}}",
        "model: {init_args: {backbone: brainmvp_lightning.backbones.registry.unet}}",
        "model: {init_args: {method: {init_args: {masking: {init_args: {ratio: high}}}}}}",
        "model: {init_args: {method: {init_args: {contrast: grid_blocks}}}}",  # of another kind
        "model: {init_args: {optimizer: {learning_rat: 0.1}}}",
        "model: {init_args: {optimizer: {learning_rate: [0.1]}}}",
        "model: {compil: true}",
        "data: {init_args: {cache: 3}}",
        "data: {init_args: {crop_size: [96, 96]}}",
        "data: {init_args: {placement: center}}",
        "data: {class_path: PretrainDataModule, init_args: {regions: true}}",
        "data: {init_args: {batch_size: 3}, num_workers: 2}",
    ],
    "prepare": [
        "source: bid",
        "source: {class_path: brats, init_args: {rot: data}}",
        "source: {class_path: collection, init_args: {sources: [{class_path: brat}]}}",
        "recipe: {spacing: 1.0}",
        "recipe: {interpolation: cubical}",
        "split_ratios: [6, 1]",
        "extra_modalities: {swi: swan}",
    ],
    "label_efficiency": [
        "arms: {scratch: {model.weight: null}}",
        "arms: {scratch: {trainer.max_epoch: 1}}",
        "overrides: {trainer.max_epochs: many}",
        "overrides: {model.substitution: {weigth: 0.1}}",
        "pretrain: configs/demo/pretrain.yaml",  # of an ablation
        "seeds: [zero]",
    ],
    "ablation": ["arms: {none: {pretrained: null}}", "arms: {none: {finetune: {data.cach: x}}}"],
    "sweep": [
        SWEEP % "model.optimizer.learning_rat: {min: 0.1, max: 1}",
        SWEEP % "model.backbone: {values: [unet]}",
        SWEEP % "data.batch_size: {value: many}",
        SWEEP % "data.batch_size: {minimum: 1, max: 3}",
        SWEEP % "data.batch_size: 3",
        "{program: brainmvp, method: guess, metric: {name: a}, parameters: {}}",
        "{program: brainmvp, method: grid, parameters: {}}",
    ],
}


class ShadedNet(UNET3D):
    """A network of another distribution.

    Args:
        shade: How dark.
    """

    def __init__(self, in_channels: int, shade: Literal["light", "dark"] = "light") -> None:
        super().__init__(in_channels)
        self.shade = shade


def faults(kind: str, text: str) -> list[str]:
    return [error.message for error in validator(kind).iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_program_takes_is_accepted(kind: str) -> None:
    assert {text: faults(kind, text) for text in RIGHT[kind] if faults(kind, text)} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_at_any_depth_are_flagged(kind: str) -> None:
    assert [text for text in WRONG[kind] if not faults(kind, text)] == []


@pytest.fixture(scope="module")
def now() -> Schemas:
    return Schemas(with_plugins=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_schema_is_what_the_command_writes_now(kind: str, now: Schemas) -> None:
    shipped = json.loads((SCHEMAS / f"{kind}.json").read_text())
    made_with = f"jsonargparse {version('jsonargparse')}, lightning {version('lightning')}"
    if not shipped["$comment"].endswith(made_with):
        pytest.skip(f"the shipped schemas were not {shipped['$comment']}")
    hint = "run: brainmvp schema all -o configs/schema --shipped"
    assert as_text(now.of(kind)) == (SCHEMAS / f"{kind}.json").read_text(), hint


def test_options_are_described_with_defaults_and_choices(now: Schemas) -> None:
    masking = now.fit["definitions"]["masking.grid_blocks"]
    assert masking["description"]
    assert masking["properties"]["ratio"]["type"] == "number"
    assert masking["properties"]["ratio"]["description"]
    assert masking["properties"]["rounding"]["enum"] == ["nearest", "floor_visible"]
    assert masking["properties"]["rounding"]["default"] == "nearest"
    assert now.fit["properties"]["trainer"]["properties"]["max_epochs"]["default"] is None
    names, _, _ = now.fit["definitions"]["Backbone"]["anyOf"]
    assert set(names["enum"]) <= set(BACKBONES.names())
    assert all(names["enumDescriptions"])


def test_a_class_of_others_is_offered_unless_it_is_left_out() -> None:
    with_plugins, without = class_parts(), class_parts(with_plugins=False)
    for parts in (with_plugins, without):
        parts.chosen(BACKBONES.base, 1)
    assert "ShadedNet.options" not in without.definitions
    options = with_plugins.definitions["ShadedNet.options"]["properties"]
    assert options == {
        "shade": {"enum": ["light", "dark"], "description": "How dark.", "default": "light"}
    }


def test_a_registered_class_of_others_is_known_by_all_its_paths() -> None:
    class Net:
        pass

    # It derives from no base of ours, whose subclasses other tests would find.
    registry = Registry("net", Net, "brainmvp_lightning.backbones")
    registry.add("shaded", Net)
    choice = Choice("shaded", registry.get("shaded"), Net)
    assert choice.key == "backbones.shaded"
    for name in (
        "shaded",
        "brainmvp_lightning.backbones.registry.shaded",  # as configurations are saved
        "tests.commands.test_schema.Net",
    ):
        assert re.search(choice.pattern, name), name
    for name in ("Shaded", "lightning.shaded", "shadedx", "other.Net"):
        assert not re.search(choice.pattern, name), name


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (int | None, {"type": ["integer", "null"]}),
        (int | float, {"type": "number"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[str, ...], {"type": "array", "items": {"type": "string"}}),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Literal["a"] | int, {"anyOf": [{"enum": ["a"]}, {"type": "integer"}]}),
        (Literal["a"] | str, {"type": "string"}),
        (Path | None, {"type": ["string", "null"]}),
        (Any, {}),
        (Any | None, {}),
    ],
)
def test_schemas_of_type_hints(hint: Any, schema: dict[str, Any]) -> None:
    assert type_schema(hint, class_parts()) == schema


def test_help_becomes_plain_words() -> None:
    text = "Stop after\nthis. See :class:`~torch.nn.Module`. Default: ``None``."
    assert tidy(text) == "Stop after this. See torch.nn.Module."
    assert tidy("One or more arguments specifying x") == ""
    assert len(tidy("word " * 100)) < 310


def test_a_schema_goes_to_the_screen_or_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["schema", "prepare", "--shipped"]) == 0
    assert capsys.readouterr().out == (SCHEMAS / "prepare.json").read_text()
    assert main(["schema", "prepare", "--shipped", "-o", str(tmp_path / "new" / "a.json")]) == 0
    assert (tmp_path / "new" / "a.json").read_text() == (SCHEMAS / "prepare.json").read_text()


def test_wrong_calls_say_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["schema", "all"]) == 2
    assert "give one with -o" in capsys.readouterr().err
    assert main(["schema", "prepare", "-o", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["schema", "fitt"])
    assert stop.value.code == 2
    assert "'prepare'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pretrain/official.yaml", "finetune/segmentation/upenn_gbm.yaml"])
def test_a_printed_configuration_satisfies_the_schema(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(CONFIGS / name), "--print_config"])
    assert stop.value.code == 0
    assert faults("fit", capsys.readouterr().out) == []
