"""Programs that pages call: ours, which are really run, and others, in whose place these stand.

`REASONS` lists the others: why they are not run, and what is done instead. A page may call them,
ours and those of `PLAIN`, and nothing else.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from brainmvp_lightning.cli import COMMANDS, main
from tests.docs.pages import ROOT
from tests.docs.server import run_script
from tests.docs.shrinking import shrink_words

PLAIN = {"cd", "export", "ls", "cat", "head", "mkdir", "cp", "mv", "rm", "echo", "find", "wait"}
REASONS = {
    "make": "sets up everything anew and takes minutes: the target has to be there; CI runs it",
    "pip": "changes the machine and needs a network: the extras have to be those of pyproject.toml",
    "sbatch": "there is no cluster: the job runs here, an array as two parts one after the other",
    "srun": "there is no cluster: what it starts runs here, once",
    "scontrol": "there is no cluster",
    "torchrun": "nodes and GPUs are missing: its parser takes the options, the program runs once",
    "benchmark": "takes minutes to hours: the options are parsed, nothing is measured",
    "wandb": "needs an account: sweep files are checked, the agent is not started",
    "tensorboard": "does not end: there have to be event files in the folder",
}
"""Programs that are not run, and why."""


def call(name: str, words: list[str]) -> int:
    """Run a program that a page calls."""
    if name == "brainmvp":
        return main(shrink_words(words))
    if name == "python":
        return python(words)
    return STAND_INS[name](words)


def python(words: list[str]) -> int:
    """Run Python; a benchmark only parses its options."""
    if words[:2] == ["-m", "brainmvp_lightning"]:
        return main(shrink_words(words[2:]))
    if words[0].startswith("benchmarks/"):
        return run_script([str(ROOT / words[0]), *words[1:], "--help"])
    return run_script(words)


def make(words: list[str]) -> int:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return _check(all(word in targets for word in words), f"make {words}: targets are {targets}")


def pip(words: list[str]) -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"brainmvp-lightning\[([\w,]+)\]|\.\[([\w,]+)\]", " ".join(words)):
        unknown = set("".join(extras).split(",")) - set(project["optional-dependencies"])
        if unknown:
            return _check(False, f"no such extra: {unknown}")
    return _check(words[:1] == ["install"], f"pip {words}")


def sbatch(words: list[str]) -> int:
    """Run a job: what `--wrap` holds for each part of an array, or a script with its arguments."""
    options = [word for word in words if word.startswith("--")]
    array = any(option.startswith("--array") for option in options)
    tasks = {"SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_ID": "1"}
    if "--wrap" in words:
        job = ["bash", "-euc", words[words.index("--wrap") + 1]]
    else:
        script = [word for word in words if not word.startswith("--")]
        job = ["bash", *script[:1], *words[words.index(script[0]) + 1 :]]
    for part in ("1", "2") if array else ("1",):
        numbers = {"SLURM_ARRAY_TASK_ID": part, "SLURM_ARRAY_TASK_COUNT": "2"}
        done = subprocess.run(job, env={**os.environ, **tasks, **(numbers if array else {})})
        if done.returncode:
            return done.returncode
    return 0


def srun(words: list[str]) -> int:
    program = next(place for place, word in enumerate(words) if not word.startswith("-"))
    return subprocess.run(words[program:]).returncode


def torchrun(words: list[str]) -> int:
    """Parse the options as torchrun does, and run what it would start, once."""
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(words)
    program = [options.training_script, *options.training_script_args]
    if options.no_python:
        return subprocess.run(program, env={**os.environ, "GROUP_WORLD_SIZE": "1"}).returncode
    return python([*(["-m"] if options.module else []), *program])


def wandb(words: list[str]) -> int:
    if words[:1] == ["sweep"]:
        return main(["sweep", "lint", *(word for word in words[1:] if word.endswith(".yaml"))])
    return _check(words[:1] in (["agent"], ["login"], ["sync"]), f"wandb {words}")


def tensorboard(words: list[str]) -> int:
    folder = Path(words[words.index("--logdir") + 1])
    return _check(any(folder.rglob("events.out.tfevents.*")), f"no event files below {folder}")


def _check(fine: bool, fault: str) -> int:
    if not fine:
        sys.stderr.write(f"{fault}\n")
    return 0 if fine else 1


STAND_INS: dict[str, Callable[[list[str]], int]] = {
    "make": make,
    "pip": pip,
    "sbatch": sbatch,
    "srun": srun,
    "scontrol": lambda _: 0,
    "torchrun": torchrun,
    "wandb": wandb,
    "tensorboard": tensorboard,
}
PROGRAMS = ("brainmvp", "python", *STAND_INS)


def programs_of(script: str) -> list[str]:
    """Return the program of each command of a block: the first word that sets no variable."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", script).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        words, fresh = list(lexer), True
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if set(word) <= set("|&;"):
                fresh = True
            elif fresh and not re.match(r"\w+=", word):
                measures = word == "python" and following.startswith("benchmarks/")
                found.append("benchmark" if measures else word)
                fresh = False
    return found


def is_known(program: str) -> bool:
    return program in PLAIN or program in PROGRAMS or program in REASONS


__all__ = ["COMMANDS", "PROGRAMS", "REASONS", "call", "is_known", "programs_of"]
