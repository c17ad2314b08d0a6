"""The command of a sweep, and how wandb's agent puts the values of a trial into it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
MACRO = re.compile(r"\$\{([^}]*)\}")

GOOD_ARGS = ("args_json_file", "args_json", "args", "args_no_equals")
"""Macros by which values arrive in a form that our parser takes."""

BAD_ARGS: Mapping[str, str] = {
    "args_no_hyphens": "writes a.b=1, which is no option",
    "args_no_boolean_flags": "leaves out what is false, so the base file decides",
    "args_append_hydra": "writes +a.b=1, which is no option",
    "args_override_hydra": "writes ++a.b=1, which is no option",
}
OTHERS = ("env", "interpreter", "program")
KNOWN = (*GOOD_ARGS, *BAD_ARGS, *OTHERS)


def expand(
    command: Sequence[Any],
    program: str,
    values: Mapping[str, Any],
    json_file: Path,
    environment: Mapping[str, str],
) -> list[str]:
    """Return the words that wandb's agent would start.

    A macro is replaced if it is the whole of an item; one that is not known vanishes, as it does
    with wandb. A variable that is not set is replaced by its own name.

    Args:
        command: As in the file.
        program: What ``${program}`` stands for.
        values: Of the trial, by dotted name.
        json_file: Where they are written.
        environment: For ``${envvar:NAME}``.
    """
    words: list[str] = []
    for item in command:
        text = ENVIRONMENT.sub(lambda found: environment.get(found[1], found[1]), str(item))
        if text.startswith("${") and text.endswith("}"):
            words += _words_of(text[2:-1], program, values, json_file)
        else:
            words.append(text)
    return words


def write_values(values: Mapping[str, Any]) -> str:
    """Return what ``${args_json_file}`` holds."""
    return json.dumps(dict(values))


def _words_of(
    macro: str, program: str, values: Mapping[str, Any], json_file: Path
) -> Sequence[str]:
    pairs = [f"{name}={value}" for name, value in values.items()]
    kinds: dict[str, list[str]] = {
        "env": ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [program],
        "args": [f"--{pair}" for pair in pairs],
        "args_no_equals": [
            word for name, value in values.items() for word in (f"--{name}", str(value))
        ],
        "args_no_hyphens": pairs,
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in values.items()
            if value is not False
        ],
        "args_json": [write_values(values)],
        "args_json_file": [str(json_file)],
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
    }
    return kinds.get(macro, [])
