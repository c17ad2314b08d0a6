"""The commands of the shipped fine-tuning files, with networks and crops small enough for tests."""

from __future__ import annotations

from pathlib import Path

from brainmvp_lightning.cli import main

CONFIGS = Path(__file__).parents[2] / "configs" / "finetune"
SMALL = {
    "model.backbone": "uniformer_tiny",
    "data.crop_size": "[32,32,32]",
    "data.batch_size": "1",
    "data.num_workers": "0",
    "trainer.accelerator": "cpu",
    "trainer.devices": "1",
    "trainer.precision": "32-true",
    "trainer.sync_batchnorm": "false",
    "trainer.max_epochs": "1",
    "trainer.check_val_every_n_epoch": "1",
    "trainer.enable_progress_bar": "false",
    "trainer.enable_model_summary": "false",
}
"""Two training studies make two steps."""
SMALL_CLASSIFICATION = {
    "data.resized_to": "[40,40,32]",
    "trainer.accumulate_grad_batches": "1",
}


def header_commands(config: Path) -> dict[str, list[str]]:
    """Return the words of each command that the header of a file names, by command."""
    variables: dict[str, str] = {}
    commands: dict[str, list[str]] = {}
    for line in config.read_text().splitlines():
        words = line.removeprefix("#   ").split()
        if line.startswith("#   RUN="):
            variables["$RUN"] = words[0].partition("=")[2]
        elif line.startswith("#   brainmvp "):
            commands[words[1]] = [_resolve(word, variables) for word in words[1:]]
    return commands


def _resolve(word: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        word = word.replace(name, value)
    if word.startswith("configs/"):
        return str(CONFIGS.parents[1] / word)
    return word


def small_options(kind: str) -> list[str]:
    """Return the words that make a shipped file of a kind fit a test."""
    options = {**SMALL, **(SMALL_CLASSIFICATION if kind == "classification" else {})}
    return [word for key, value in options.items() for word in (f"--{key}", value)]


def run_header(config: Path, command: str, *more: str, **places: str) -> int:
    """Run a command of a header.

    Args:
        config: The shipped file.
        command: Which of its commands.
        more: Words after those of the header.
        places: What to put for the words in capitals.
    """
    words = [places.get(word, word) for word in header_commands(config)[command]]
    return main([*words, *more])


def pretrain(cache: Path, folder: Path) -> Path:
    """Pre-train the smallest UniFormer for two steps, and return its encoder with templates."""
    options = {
        "trainer.default_root_dir": str(folder),
        "trainer.max_epochs": "1",
        "trainer.limit_train_batches": "2",
        "trainer.limit_val_batches": "0",
        "trainer.callbacks": "[{class_path: EncoderExport}]",
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
        "model.method.templates.shape": "[32,32,32]",
        "data.cache": str(cache),
        "data.crop_size": "[16,16,16]",
        "data.batch_size": "2",
        "data.num_workers": "0",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    assert main(["fit", "-c", str(CONFIGS.parent / "demo" / "pretrain.yaml"), *words]) == 0
    return folder / "encoder.safetensors"
