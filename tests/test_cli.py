"""The program answers, and wrong calls teach."""

import subprocess
import sys

import pytest

from brainmvp_lightning import __version__
from brainmvp_lightning.cli import COMMANDS, main


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"brainmvp {__version__}\n"


def test_a_misspelt_command_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["prepar"]) == 2
    assert "unknown command 'prepar'; did you mean 'prepare'?" in capsys.readouterr().err


def test_a_misspelt_kind_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "backbone"]) == 2
    assert "did you mean 'backbones'?" in capsys.readouterr().err


def test_list_shows_class_options_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "masking"]) == 0
    shown = capsys.readouterr().out
    assert "  grid_blocks: " in shown
    assert "class   brainmvp_lightning.masking.blocks.GridBlocks" in shown
    assert "block_size=8" in shown
    assert "from    brainmvp_lightning" in shown


def test_module_and_console_script_are_the_same_program() -> None:
    command = [sys.executable, "-m", "brainmvp_lightning", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"brainmvp {__version__}\n"
