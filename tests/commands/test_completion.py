"""Scripts for shells, run by a real shell."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.cli import COMMANDS, main
from brainmvp_lightning.commands.completion import commands
from tests.configs.schemas import CONFIGS

BASH = shutil.which("bash") or ""
needs_bash = pytest.mark.skipif(not BASH, reason="there is no bash")

QUESTIONS = {  # words typed so far, the last one incomplete -> words that are offered
    "brainmvp pre": {"prepare", "predict"},
    "brainmvp fit --model.backbone uni": {"uniformer_tiny", "uniformer_small", "uniformer_base"},
    "brainmvp fit -c configs/demo/pretrain.yaml --model.backbone unet": {"unet3d", "unetr"},
    "brainmvp plan --model.backbone unet3": {"unet3d"},
    "brainmvp prepare --conf": {"--config"},
    "brainmvp prepare --config configs/prepare/bi": {"configs/prepare/bids.yaml"},
    "brainmvp test -c configs/pretrain/off": {"configs/pretrain/official.yaml"},
    "brainmvp prepare --source bi": {"bids"},
    "brainmvp prepare --recipe.interpolat": {"--recipe.interpolation"},
    "brainmvp fit --model.method.masking.rat": {"--model.method.masking.ratio"},
    "brainmvp fit --model.checkpointing ''": {"true", "false"},
    "brainmvp fit --trainer.callbacks Las": {"LastCheckpoint"},
    "brainmvp fit --trainer.max_epochs ''": {"null"},
    "brainmvp experiment ''": {"label_efficiency", "ablation"},
    "brainmvp experiment ablation --pre": {"--pretrain", "--pretrain_cache"},
    "brainmvp weights export --format h": {"huggingface"},
    "brainmvp weights inspect READ": {"README.md"},
    "brainmvp list back": {"backbones"},
    "brainmvp completion ''": {"bash", "zsh"},
    "brainmvp explain configs/pretrain/off": {"configs/pretrain/official.yaml"},
    "brainmvp sweep lint configs/sweeps/dem": {"configs/sweeps/demo.yaml"},
    "brainmvp report CITAT": {"CITATION.cff"},
    "brainmvp schema abl": {"ablation"},
}

ASK = """
source "$1"
while IFS= read -r line; do
  eval "COMP_WORDS=($line)"
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _shtab_brainmvp
  echo "${COMPREPLY[@]}"
done
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "brainmvp"
    assert main(["completion", "bash", "-o", str(path)]) == 0
    return path


def answers(script: Path, questions: list[str]) -> list[set[str]]:
    """Return what bash offers after each line; it starts nothing but itself."""
    done = subprocess.run(
        [BASH, "--norc", "-c", ASK, "bash", str(script)],
        input="\n".join(questions) + "\n",
        capture_output=True,
        text=True,
        cwd=CONFIGS.parent,
        env={"PATH": "", "TERM": "dumb"},
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [set(shlex.split(line)) for line in done.stdout.splitlines()]


@needs_bash
def test_bash_completes_commands_options_names_and_files(script: Path) -> None:
    found = answers(script, list(QUESTIONS))
    assert dict(zip(QUESTIONS, found, strict=True)) == QUESTIONS


@needs_bash
def test_bash_offers_all_commands_and_all_names(script: Path) -> None:
    first, backbones, options = answers(
        script, ["brainmvp ''", "brainmvp fit --model.backbone ''", "brainmvp fit --model.back"]
    )
    assert first == set(COMMANDS)
    assert set(BACKBONES.names()) <= backbones
    assert {"--model.backbone", "--model.backbone.widths"} <= options
    assert all(option.startswith("--model.backbone") for option in options)


def test_every_command_is_completed() -> None:
    assert set(commands()) == set(COMMANDS)


def test_the_script_for_zsh_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("#compdef brainmvp")
    assert "uniformer_small" in text
    if zsh := shutil.which("zsh"):
        (tmp_path / "_brainmvp").write_text(text)
        subprocess.run([zsh, "-n", str(tmp_path / "_brainmvp")], check=True)


def test_a_wrong_shell_and_a_wrong_place_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["completion", "fish"])
    assert stop.value.code == 2
    assert "bash" in capsys.readouterr().err
    assert main(["completion", "bash", "-o", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err
