"""The ``brainmvp`` program: finds the module of a command and hands over to it.

Importing this module loads neither torch nor Lightning, so that help answers at once.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from contextlib import ExitStack

from brainmvp_lightning import __version__
from brainmvp_lightning.registry.modules import PluginError, naming_plugins

# command -> (module under brainmvp_lightning.commands, one line for the overview)
COMMANDS = {
    "prepare": ("prepare", "turn the NIfTI files of a cohort into a cache, once"),
    "doctor": ("doctor", "check a cohort before hours of work, and suggest fixes"),
    "plan": ("plan", "batch, memory and time of a training on given hardware, before it starts"),
    "explain": ("explain", "what a configuration will do, and where it departs from the paper"),
    "fit": ("trainer", "pre-train or fine-tune; a YAML file says what"),
    "validate": ("trainer", "score a checkpoint on the validation studies"),
    "test": ("trainer", "score a checkpoint on the test studies, case by case"),
    "predict": ("trainer", "write the predictions of a fine-tuned network for a prepared cohort"),
    "segment": ("segment", "predict for raw images, on their own grids"),
    "experiment": ("experiment", "compare many runs: label efficiency, ablation"),
    "report": ("report", "curves, pictures, cases and slices of runs as one HTML page"),
    "schema": ("schema", "what configuration files may hold, for editors"),
    "completion": ("completion", "make the shell complete commands, options and names"),
    "sweep": ("sweep", "check sweep files of wandb, and run them without a server"),
    "list": ("components", "show registered backbones, masking, heads, methods and adapters"),
    "weights": ("weights", "inspect, import and export checkpoints, the published ones too"),
    "demo": ("demo", "the whole way on a small cohort made from real anatomy"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Words after the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 1 failed, 2 the call itself is wrong.
    """
    words = sys.argv[1:] if argv is None else argv
    with ExitStack() as stack:
        try:
            modules, words = _split_imports(words)
            stack.enter_context(naming_plugins(modules))
        except (ValueError, PluginError) as error:
            sys.stderr.write(f"brainmvp: {error}\n")
            return 2
        return _run(words)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        sys.stdout.write(f"brainmvp {__version__}\n")
        return 0
    if words[0] not in COMMANDS:
        sys.stderr.write(_unknown_command(words[0]))
        return 2
    module = importlib.import_module(f"brainmvp_lightning.commands.{COMMANDS[words[0]][0]}")
    # The Lightning CLI serves four commands and reads which one from its arguments.
    rest = words if COMMANDS[words[0]][0] == "trainer" else words[1:]
    code: int = module.main(rest)
    return code


def _split_imports(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the modules of parts that are named before the command, and the other words.

    Raises:
        ValueError: If ``--import`` names nothing, or comes after the command.
    """
    modules = []
    while words and words[0].partition("=")[0] == "--import":
        _, equals, name = words[0].partition("=")
        modules.append(name if equals else "".join(words[1:2]))
        words = words[1 if equals else 2 :]
    if "" in modules or any(word.partition("=")[0] == "--import" for word in words):
        raise ValueError("--import MODULE comes before the command: brainmvp --import my_parts fit")
    return modules, words


def _overview() -> str:
    lines = [f"  {name:<10} {summary}" for name, (_, summary) in COMMANDS.items()]
    return (
        f"brainmvp {__version__}: pre-training on grouped multi-parametric brain MRI\n\n"
        "usage: brainmvp COMMAND [options]      brainmvp COMMAND --help\n"
        "       brainmvp --import MODULE COMMAND ...      with parts of your own from MODULE.py\n\n"
        + "\n".join(lines)
        + "\n\nFirst steps: brainmvp demo\n"
    )


def _unknown_command(word: str) -> str:
    close = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.5)
    question = f"; did you mean {close[0]!r}?" if close else ""
    return f"brainmvp: unknown command {word!r}{question} (commands: {', '.join(COMMANDS)})\n"
