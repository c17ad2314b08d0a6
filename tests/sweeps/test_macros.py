"""Our expansion of a command is that of wandb's agent."""

from pathlib import Path
from typing import Any

import pytest
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from brainmvp_lightning.commands.sweep_lint import _lookup
from brainmvp_lightning.commands.sweep_reader import reader
from brainmvp_lightning.sweeps.files import read_sweep
from brainmvp_lightning.sweeps.macros import KNOWN, expand, write_values
from tests.sweeps.making import ROOT, SHIPPED

VALUES = {"a.b": 5e-05, "c": True, "d": False, "e": None, "f": [96, 96], "g": "x y"}


def wandb_words(command: list[Any], values: dict[str, Any], file: Path) -> list[str]:
    """Expand as ``wandb_agent.Agent._command_run`` does, with wandb's own functions."""
    items = create_sweep_command(list(command))
    known = create_sweep_command_args({"args": {name: {"value": v} for name, v in values.items()}})
    known |= {"interpreter": ["python"], "program": ["brainmvp"], "args_json_file": [str(file)]}
    known["env"] = ["/usr/bin/env"]
    words: list[str] = []
    for item in map(str, items):
        is_macro = item.startswith("${") and item.endswith("}")
        words += (known.get(item[2:-1]) or []) if is_macro else [item]
    return words


@pytest.mark.parametrize("macro", [*KNOWN, "unknown"])
def test_a_macro_is_what_wandb_makes_of_it(macro: str) -> None:
    command = ["${env}", f"${{{macro}}}", f"--x=${{{macro}}}", 3]
    file = Path("values.json")
    assert expand(command, "brainmvp", VALUES, file, {}) == wandb_words(command, VALUES, file)


def test_variables_are_what_wandb_makes_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLD_1", "two")
    command = ["--x=${envvar:FOLD_1}/${envvar:FOLD_2}", "${envvar:FOLD_1}"]
    file = Path("values.json")
    words = expand(command, "brainmvp", {}, file, {"FOLD_1": "two"})
    assert words == wandb_words(command, {}, file) == ["--x=two/FOLD_2", "two"]


QUICK = ("demo", "pretrain_masking", "segmentation_backbone")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.stem in QUICK else pytest.mark.slow, id=path.stem)
        for path in SHIPPED
    ],
)
def test_values_reach_the_parser_through_wandbs_expansion(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    sweep = read_sweep(path)
    values = {parameter.name: list(parameter.tries())[-1] for parameter in sweep.parameters}
    file = tmp_path / "config-abc.json"
    file.write_text(write_values(values))
    words = wandb_words(list(sweep.command), values, file)
    assert words[:3] == ["/usr/bin/env", "brainmvp", "fit"]
    config, reason = reader().read(words[2:])
    assert config is not None, reason
    assert "wandb" in config.trainer.logger.class_path
    for name, value in values.items():
        found = _lookup(config, name)
        if name.endswith(("backbone", "masking.class_path")):
            value, found = str(value), (found if isinstance(found, str) else found["class_path"])
            assert found.endswith(f".{value}")
        elif name != "trainer.callbacks":
            assert found == value
