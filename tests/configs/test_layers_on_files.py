"""Each layer goes on top of each complete file it is for, and what it says is what runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
PRETRAIN = sorted(CONFIGS.glob("pretrain/*.yaml")) + sorted(CONFIGS.glob("demo/*pretrain.yaml"))
FINE_TUNING = sorted(CONFIGS.glob("finetune/*/*.yaml")) + sorted(CONFIGS.glob("demo/*segment.yaml"))
LAYERS = sorted(CONFIGS.glob("layers/**/*.yaml"))
ONE_OF_EACH = (
    CONFIGS / "pretrain" / "official.yaml",
    CONFIGS / "finetune" / "segmentation" / "mrbrains13.yaml",
    CONFIGS / "finetune" / "classification" / "adni.yaml",
)


def bases(layer: Path) -> list[Path]:
    """Return the complete files that a layer is for."""
    return PRETRAIN if layer.parent.name == "masking" else [*PRETRAIN, *FINE_TUNING]


def pairs(chosen: tuple[Path, ...]) -> list[Any]:
    return [
        pytest.param(base, layer, id=f"{base.stem}+{layer.parent.name}/{layer.stem}")
        for layer in LAYERS
        for base in bases(layer)
        if not chosen or base in chosen
    ]


def resolved(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as stop:
        main(["fit", *words, "--print_config"])
    assert stop.value.code == 0
    result: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return result


def different(layer: Mapping[str, Any], found: Any, path: str = "") -> Iterator[str]:
    """Yield the options of a layer that have another value in a resolved configuration."""
    for name, value in layer.items():
        here = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(value, Mapping):
            yield from different(value, here, f"{path}.{name}")
        elif isinstance(here, Mapping) or name == "class_path":  # a class, by its short name
            named = here["class_path"] if isinstance(here, Mapping) else here
            if str(named).rpartition(".")[2] != value:
                yield f"{path}.{name}"
        elif here != value:
            yield f"{path}.{name}"


def check(capsys: pytest.CaptureFixture[str], base: Path, layer: Path) -> None:
    found = resolved(capsys, str(base), "-c", str(layer))
    assert list(different(yaml.safe_load(layer.read_text()), found)) == []


@pytest.mark.parametrize(("base", "layer"), pairs(ONE_OF_EACH))
def test_a_layer_changes_what_it_says(
    base: Path, layer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(capsys, base, layer)


@pytest.mark.slow
@pytest.mark.parametrize(("base", "layer"), pairs(()))
def test_a_layer_changes_what_it_says_on_every_file(
    base: Path, layer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(capsys, base, layer)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_layer_shows_a_call_of_itself(layer: Path) -> None:
    comment = layer.read_text().splitlines()[:4]
    call = next(line for line in comment if "brainmvp fit -c configs/" in line)
    base, own = call.split(" -c ")[1:3]
    assert (CONFIGS.parent / base.strip()).is_file()
    assert CONFIGS.parent / own.strip() == layer


def test_the_later_one_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("data: {init_args: {batch_size: 2}}\n")
    base, two = str(PRETRAIN[0]), str(tmp_path / "two.yaml")
    batch = ("--data.batch_size", "5")
    for words, expected in (((two, *batch), 5), ((*batch, two), 2), ((*batch, "-c", two), 2)):
        assert resolved(capsys, base, *words)["data"]["init_args"]["batch_size"] == expected


def test_a_part_that_is_swapped_keeps_the_options_that_both_have(
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = str(CONFIGS / "pretrain" / "brainmvp_uniformer.yaml")
    words = ("--model.method.masking.ratio", "0.6", "--model.method.masking", "grid_blocks")
    method = resolved(capsys, base, *words)["model"]["init_args"]["method"]["init_args"]
    assert method["masking"]["init_args"] == {
        "block_size": 8,
        "ratio": 0.6,
        "rounding": "nearest",
    }


def test_lists_are_replaced_unless_they_are_added_to(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stopping = "[{class_path: EarlyStopping, init_args: {monitor: val/total}}]"
    for key, number in (("callbacks", 1), ("callbacks+", 5)):
        layer = tmp_path / "layer.yaml"
        layer.write_text(f"trainer: {{{key}: {stopping}}}\n")
        base = str(CONFIGS / "pretrain" / "official.yaml")
        found = resolved(capsys, base, str(layer))["trainer"]["callbacks"]
        assert len(found) == number
        assert found[-1]["class_path"].endswith("EarlyStopping")


def test_a_quick_run_takes_two_steps(cache_folder: Path, tmp_path: Path) -> None:
    words = {
        "data.cache": cache_folder,
        "data.crop_size": "[16,16,16]",
        "model.method.templates.shape": "[24,24,24]",
        "model.method.masking.block_size": 4,
        "trainer.default_root_dir": tmp_path,
        "trainer.callbacks": "LastCheckpoint",
    }
    options = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    base, quick = CONFIGS / "demo" / "pretrain.yaml", CONFIGS / "layers" / "quick.yaml"
    assert main(["fit", str(base), str(quick), *options]) == 0
    import torch

    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
