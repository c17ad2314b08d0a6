"""Parts of a module that is in no package: named before the command, imported in all processes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.cli import main
from brainmvp_lightning.experiments.environment import job_environment
from brainmvp_lightning.registry.modules import VARIABLE, naming_plugins
from brainmvp_lightning.testing import check_backbone

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_parts.py"
DEMO = Path(__file__).parents[2] / "configs" / "demo" / "pretrain.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with modules; what they do to this process is undone."""
    shutil.copy(EXAMPLE, tmp_path)
    (tmp_path / "my_taken.py").write_text(
        EXAMPLE.read_text().replace("tiny_conv", "unet3d").replace("TinyConv", "Other")
    )
    (tmp_path / "my_faulty.py").write_text("x = 1\n\ny = x / 0\n")
    (tmp_path / "my_typo.py").write_text("def f(:\n")
    (tmp_path / "my_lack.py").write_text("import no_such_dependency\n")
    (tmp_path / "my_exit.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    BACKBONES.load()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]
    BACKBONES._members.pop("tiny_conv", None)
    BACKBONES._origins.pop("tiny_conv", None)


def test_a_part_of_a_module_is_listed_with_its_origin(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--import", "my_parts", "list", "backbones"]) == 0
    listed = capsys.readouterr().out
    assert "  tiny_conv: One strided convolution.\n      class   my_parts.TinyConv\n" in listed
    assert "from    my_parts (no version)" in listed
    assert main(["list", "--plugins"]) == 0
    listed = capsys.readouterr().out
    assert "my_parts (no version)\n  backbone tiny_conv: my_parts:TinyConv\n" in listed
    assert "brainmvp_lightning" not in listed


def test_the_example_keeps_the_contract(folder: Path) -> None:
    with naming_plugins(["my_parts"]):
        check_backbone(BACKBONES.get("tiny_conv"))


def test_processes_that_are_started_are_told(folder: Path) -> None:
    with naming_plugins(["my_parts", "my_parts"]):
        assert job_environment(os.environ, 1, 2, 4, [])[VARIABLE] == "my_parts"
    assert os.environ[VARIABLE] == ""
    assert str(folder) in sys.path[-1:]  # after all packages, so that it hides none


def test_nothing_changes_without_plugins(folder: Path) -> None:
    before = [*sys.path]
    assert main(["--version"]) == 0
    assert sys.path == before
    assert os.environ[VARIABLE] == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--import", "my_part"), "no module 'my_part' in .*; did you mean 'my_parts'"),
        (("--import", "my_parts.py"), "'my_parts.py' is not the name of a module.*'my_parts'"),
        (("--import", "sub/my_parts"), "'sub/my_parts' is not the name"),
        (
            ("--import", "my_faulty"),
            r"'my_faulty' cannot be imported \(my_faulty.py, line 3\): ZeroDivisionError: division",
        ),
        (("--import", "my_typo"), "'my_typo' cannot be imported: SyntaxError: .*line 1"),
        (("--import", "my_lack"), "ModuleNotFoundError: No module named 'no_such_dependency'"),
        (("--import", "my_exit"), "'my_exit' cannot be imported .*: SystemExit: 3"),
        (
            ("--import", "my_taken"),
            "backbone name 'unet3d' is taken by brainmvp_lightning.backbones.unet3d.UNET3D",
        ),
        (("list", "--import", "my_parts"), "--import MODULE comes before the command"),
        (("--import",), "--import MODULE comes before the command"),
    ],
)
def test_a_wrong_call_ends_in_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    assert main([*words]) == 2
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    assert text.startswith("brainmvp: ")
    assert re.search(expected, text), text


def run(folder: Path, *words: str, program: tuple[str, ...] = ()) -> str:
    """Run the program in a folder that is not on its path by itself; return all it writes."""
    done = subprocess.run(
        [sys.executable, *(program or ("-m", "brainmvp_lightning")), *words],
        cwd=folder,
        env={**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_other_process_of_a_training_imports_it_too(folder: Path, cache_folder: Path) -> None:
    run(
        folder,
        *("--import", "my_parts", "fit", "--config", str(DEMO), "--data.cache", str(cache_folder)),
        *("--model.backbone", "tiny_conv", "--model.backbone.width", "8"),
        *("--model.method.templates.shape", "[8,8,8]", "--data.crop_size", "[16,16,16]"),
        *("--data.batch_size", "1", "--data.num_workers", "0", "--trainer.max_steps", "1"),
        *("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"),
        *("--trainer.default_root_dir", "run", "--trainer.logger", "false"),
    )
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    backbone = saved["hyper_parameters"]["backbone"]
    assert backbone["class_path"].rpartition(".")[2] == "tiny_conv"
    assert saved["state_dict"]["backbone.conv.weight"].shape == (8, 1, 2, 2, 2)
    assert saved["global_step"] == 1


SPAWN = """
import multiprocessing, os
from brainmvp_lightning.backbones.registry import BACKBONES
if __name__ == "__main__":
    os.environ["BRAINMVP_PLUGINS"] = "my_parts"
    cls = BACKBONES.get("tiny_conv")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("made", pool.apply(cls, (1,), {"width": 3}).feature_channels)
"""


@pytest.mark.slow
def test_a_process_that_python_spawns_finds_the_part_by_its_name(folder: Path) -> None:
    (folder / "program.py").write_text(SPAWN)
    assert "made (3,)" in run(folder, program=("program.py",))


@pytest.mark.slow
def test_a_module_that_comes_first_cannot_take_our_name(folder: Path) -> None:
    code = "import my_taken"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert "ValueError: backbone name 'unet3d' is taken by brainmvp_lightning." in done.stderr


def test_the_page_shows_the_example() -> None:
    page = (EXAMPLE.parents[2] / ".github" / "docs" / "own_parts.md").read_text()
    assert f"```python\n# my_parts.py\n{EXAMPLE.read_text()}```" in page
