"""What can be wrong in the form of a sweep file, a sentence for each fault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from brainmvp_lightning.sweeps.macros import BAD_ARGS, ENVIRONMENT, GOOD_ARGS, KNOWN, MACRO
from brainmvp_lightning.sweeps.names import is_inside, nearest, plain
from brainmvp_lightning.sweeps.parameter_blocks import is_int
from brainmvp_lightning.sweeps.parameters import Parameter

Faults = list[str]

PROGRAM = "brainmvp"
METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
FORM = '["${env}", "${program}", fit, -c, BASE, -c, "${args_json_file}"]'
_TOP = (
    *("program", "method", "metric", "parameters", "command", "early_terminate", "name"),
    *("description", "project", "entity", "run_cap", "controller", "job", "image_uri", "scheduler"),
)
_METRIC = ("name", "goal", "target", "impute", "impute_while_running")
_FILE = re.compile(r"^[^-].*\.(ya?ml|json)$")
_GRID = ("constant", "categorical", "int_uniform", "q_uniform")


def check_top(tree: dict[str, Any]) -> Faults:
    """Return what is wrong with keys, program and method."""
    faults = [
        f"unknown key {key!r}{nearest(key, _TOP)} (keys: {', '.join(_TOP)})"
        for key in tree
        if key not in _TOP
    ]
    if tree.get("program") != PROGRAM:
        faults.append(f"program is {tree.get('program')!r}; it must be {PROGRAM!r}")
    method = tree.get("method")
    if method not in METHODS:
        hint = nearest(str(method), METHODS)
        faults.append(f"method is {method!r}{hint} (methods: {', '.join(METHODS)})")
    cap = tree.get("run_cap")
    if cap is not None and not (is_int(cap) and cap > 0):
        faults.append(f"run_cap is {cap!r}; give a number of 1 or more")
    return faults


def read_metric(tree: dict[str, Any], faults: Faults) -> tuple[str, str]:
    """Return name and goal of the metric; what is wrong goes to `faults`."""
    metric = tree.get("metric")
    if not isinstance(metric, dict) or not metric.get("name"):
        faults.append("there is no metric; give metric: {name: val/dice, goal: maximize}")
        return "", ""
    for key in metric:
        if key not in _METRIC:
            faults.append(f"metric has an unknown key {key!r}{nearest(str(key), _METRIC)}")
    goal = metric.get("goal", "minimize")  # wandb's default
    if goal not in GOALS:
        hint = nearest(str(goal), GOALS)
        faults.append(f"metric.goal is {goal!r}{hint} (goals: {', '.join(GOALS)})")
    return str(metric["name"]), str(goal)


def check_grid(method: Any, parameters: Sequence[Parameter], faults: Faults) -> None:  # noqa: ANN401
    """Note parameters that a grid cannot go through."""
    if method != "grid":
        return
    for one in parameters:
        if one.distribution not in _GRID or one.weights:
            what = "probabilities" if one.weights else f"distribution {one.distribution}"
            faults.append(
                f"{one.name} has {what}, but method grid goes through every value; give values or "
                "use method random"
            )


def check_command(tree: dict[str, Any], parameters: Sequence[Parameter], faults: Faults) -> None:
    """Note what is wrong with the command's macros and their order."""
    command = tree.get("command")
    if not isinstance(command, list) or not command:
        what = "there is no command" if command is None else f"command is {command!r}"
        faults.append(f"{what}, which wandb would make a call of python; give {FORM}")
        return
    items = [str(item) for item in command]
    macros: list[str] = []
    for item in items:
        macros += _macros_of(item, faults)
    if "interpreter" in macros:
        faults.append(f"${{interpreter}} is the word python, but {PROGRAM} is a program; drop it")
    if "program" not in macros and PROGRAM not in items:
        faults.append(f"the command does not start {PROGRAM}; put ${{program}} into it")
    if "fit" not in items:
        faults.append(f"the command is no {PROGRAM} fit; put fit after ${{program}}")
    _check_args(items, [name for name in macros if name in GOOD_ARGS], parameters, faults)
    _check_texts(macros, parameters, faults)


def _macros_of(item: str, faults: Faults) -> list[str]:
    """Return the macros of an item; what is wrong with them goes to `faults`."""
    names = MACRO.findall(ENVIRONMENT.sub("", item))
    for name in names:
        if name in BAD_ARGS:
            faults.append(f"${{{name}}} {BAD_ARGS[name]}; use ${{args_json_file}} after -c")
        elif name not in KNOWN:
            known = ", ".join(f"${{{one}}}" for one in KNOWN if one not in BAD_ARGS)
            faults.append(
                f"wandb knows no macro ${{{name}}} and drops it{nearest(name, KNOWN)} "
                f"(macros: {known}, ${{envvar:NAME}})"
            )
        elif item != f"${{{name}}}":
            faults.append(f"${{{name}}} in {item!r} is not replaced; make it an item of its own")
    return names


def _check_args(
    items: list[str], macros: list[str], parameters: Sequence[Parameter], faults: Faults
) -> None:
    if len(macros) != 1:
        has = f"has {' and '.join(macros)}" if macros else "has no ${args_json_file}"
        faults.append(f"the command {has}; values must reach the program once: {FORM}")
        return
    item = f"${{{macros[0]}}}"
    if item not in items:
        return  # named already
    place = items.index(item)
    is_config = macros[0] in ("args_json", "args_json_file")
    if is_config and items[place - 1] not in ("-c", "--config"):
        faults.append(f"{item} is a configuration; put -c before it")
    if not is_config and items[place - 1] in ("-c", "--config"):
        faults.append(f"{item} is options, no configuration; drop the -c before it")
    if any(_names_config(word) for word in items[place + 1 :]):
        faults.append(f"{item} comes before another -c, whose values would win; put it last")
    for word in items[place + 1 :]:
        _check_after(word, parameters, faults)
    before = items[: place - int(is_config)]
    before = before[before.index("fit") + 1 :] if "fit" in before else before
    if not any(_names_config(word) or _FILE.search(word) for word in before):
        faults.append(f"the command names no base file; give {FORM}")


def _names_config(word: str) -> bool:
    return word == "--config" or word.startswith(("-c", "--config="))


def _check_after(word: str, parameters: Sequence[Parameter], faults: Faults) -> None:
    """Note an option after the values that takes the place of one of them."""
    name = word.partition("=")[0].removeprefix("--") if word.startswith("--") else ""
    for one in parameters if name else ():
        if plain(one.name) == plain(name) or is_inside(one.name, name):
            faults.append(
                f"--{name} comes after the values and would win over {one.name}; put it before them"
            )


def _check_texts(macros: list[str], parameters: Sequence[Parameter], faults: Faults) -> None:
    """Note values that do not survive being written as a word."""
    used = next((name for name in macros if name in ("args", "args_no_equals")), None)
    for one in parameters if used else ():
        if any(_holds_null(value) for value in one.values):
            faults.append(
                f"{one.name} may be or hold null, which ${{{used}}} writes as the word None; use "
                "${args_json_file} after -c"
            )
        elif any(isinstance(value, dict) for value in one.values):
            faults.append(
                f"{one.name} has mappings as values, which ${{{used}}} writes as Python; use "
                "${args_json_file} after -c"
            )


def _holds_null(value: object) -> bool:
    return value is None or (isinstance(value, list) and any(map(_holds_null, value)))
