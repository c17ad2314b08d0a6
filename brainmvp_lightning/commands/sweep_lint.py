"""Checks of a sweep against the parser of ``fit``: each key and value is parsed for real."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from brainmvp_lightning.commands.sweep_metrics import goal_of, readable, validation_metrics
from brainmvp_lightning.commands.sweep_reader import read_trial
from brainmvp_lightning.sweeps.files import Sweep, SweepError, read_sweep
from brainmvp_lightning.sweeps.names import is_inside, nearest, plain
from brainmvp_lightning.sweeps.parameters import Parameter

_CLASS = "class_path"
_NOWHERE = object()


@dataclass
class Findings:
    """What was found.

    Attributes:
        faults: What would go wrong.
        notes: What works, but may not mean what it seems to.
        config: The configuration of the trials, with the first value of each parameter.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    config: Namespace | None = None


def lint(path: Path) -> tuple[Sweep | None, Findings]:
    """Check a sweep file.

    Returns:
        The sweep, None if its form is wrong already, and what was found.
    """
    found = Findings()
    try:
        sweep = read_sweep(path)
    except SweepError as error:
        found.faults = error.faults
        return None, found
    config, reason = read_trial(sweep, {})
    if config is None:
        found.faults.append(f"the command without any value is refused: {reason}")
        return sweep, found
    for group, values, reason in _refused(sweep):
        own = [fault for one in group for fault in _parameter_faults(sweep, one, config)]
        found.faults += own or [f"{json.dumps(values)} is refused as a whole: {reason}"]
    if not found.faults:
        found.faults += list(_pair_faults(sweep))
        _check_together(sweep, found)
    found.faults += list(_metric_faults(sweep, found.config or config))
    found.notes += list(_notes(sweep, found.config or config))
    return sweep, found


def _refused(sweep: Sweep) -> Iterator[tuple[list[Parameter], dict[str, Any], str]]:
    """Yield parameters with a set of their values that is refused, and why.

    Values are tried together, one of each parameter at a time; those of a class and of its options
    never meet. Only if a set is refused each value is tried by itself.
    """
    groups = _apart(sweep.parameters)
    for group in groups:
        tries = [_tries(sweep, parameter) for parameter in group]
        for number in range(max(map(len, tries))):
            values = {
                one.name: own[number % len(own)] for one, own in zip(group, tries, strict=True)
            }
            config, reason = read_trial(sweep, values)
            if config is None:
                yield group, values, reason
                break


def _tries(sweep: Sweep, parameter: Parameter) -> list[Any]:
    """Return the values to parse; each step of a grid, for they differ in their digits."""
    is_grid = sweep.method == "grid" and parameter.distribution == "q_uniform"
    return list(parameter.all_values() if is_grid else parameter.tries())


def _apart(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    groups: list[list[Parameter]] = []
    for one in parameters:
        for group in groups:
            if not any(
                is_inside(one.name, other.name) or is_inside(other.name, one.name)
                for other in group
            ):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _parameter_faults(sweep: Sweep, parameter: Parameter, config: Namespace) -> Iterator[str]:
    """Yield a sentence for a key that is unknown, or else for each value that is refused."""
    refused = []
    for value in _tries(sweep, parameter):
        found, reason = read_trial(sweep, {parameter.name: value})
        if found is None:
            refused.append((value, reason))
    known = {plain(key) for key in _keys(config.as_dict())}
    if refused and plain(parameter.name) not in known:
        hint = nearest(plain(parameter.name), known) or f" ({refused[0][1]})"
        yield f"unknown option {parameter.name!r}{hint}"
        return
    for value, reason in refused:
        yield f"{parameter.name} cannot be {json.dumps(value)}: {reason}"


def _keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def _pair_faults(sweep: Sweep) -> Iterator[str]:
    """Yield where a class and its options are tried together, and one of them would be lost."""
    for outer, inner in itertools.permutations(sweep.parameters, 2):
        if not is_inside(inner.name, outer.name):
            continue
        option = next(iter(inner.tries()))
        for value in outer.tries():
            reason = _loss(sweep, {outer.name: value, inner.name: option})
            if reason:
                is_short = not outer.name.endswith(_CLASS)
                remedy = f"name the class by {outer.name}.{_CLASS}" if is_short else "split them"
                yield (
                    f"{inner.name} is tried together with {outer.name}, and with "
                    f"{json.dumps(value)} {reason}; {remedy}"
                )
                break


def _loss(sweep: Sweep, values: Mapping[str, Any]) -> str:
    """Return what becomes of a class and an option of it, if anything is lost.

    Args:
        sweep: Whose command reads them.
        values: The class, then the option. A server may turn them round.
    """
    (outer, value), (inner, option) = values.items()
    alone = _class_of(read_trial(sweep, {outer: value})[0], outer)
    for order in (values, {inner: option, outer: value}):
        config, reason = read_trial(sweep, order)
        if config is None:
            return f"this is refused ({reason})"
        if _class_of(config, outer) != alone:
            return "the class is lost"
        if _lookup(config, inner) != option:
            return "the option is lost"
    return ""


def _class_of(config: Namespace | None, name: str) -> Any:  # noqa: ANN401 - text, or no class
    found = _lookup(config, name)
    return found.get(_CLASS) if isinstance(found, Mapping) else found


def _lookup(config: Namespace | None, name: str) -> Any:  # noqa: ANN401 - a value of any option
    """Return what a configuration holds under a name, which may leave out ``init_args``."""
    node: Any = config.as_dict() if config is not None else {}
    for word in plain(name).split("."):
        if isinstance(node, Mapping) and word not in node and "init_args" in node:
            node = node["init_args"]
        if not isinstance(node, Mapping) or word not in node:
            return _NOWHERE
        node = node[word]
    return list(node) if isinstance(node, tuple) else node


def _check_together(sweep: Sweep, found: Findings) -> None:
    if found.faults:
        return
    first = {parameter.name: next(iter(parameter.tries())) for parameter in sweep.parameters}
    found.config, reason = read_trial(sweep, first)
    if found.config is None:
        found.faults.append(f"the first values are refused together: {reason}")


def _metric_faults(sweep: Sweep, config: Namespace) -> Iterator[str]:
    metrics = validation_metrics(config.model)
    if metrics is None:
        return
    is_logged, goal = goal_of(sweep.metric.name, metrics)
    names = readable(metrics)
    task = str(config.model.class_path).rpartition(".")[2]
    if not is_logged:
        yield (
            f"{task} logs no {sweep.metric.name!r} in validation"
            f"{nearest(sweep.metric.name, names)} (it logs {', '.join(names)})"
        )
    elif goal is None:
        yield f"{sweep.metric.name} is neither good nor bad; choose one of {', '.join(names)}"
    elif goal != sweep.metric.goal:
        yield f"metric.goal is {sweep.metric.goal}, but for {sweep.metric.name} it is {goal}"


def _notes(sweep: Sweep, config: Namespace) -> Iterator[str]:
    names = [plain(parameter.name).split(".") for parameter in sweep.parameters]
    is_pretraining = str(config.model.class_path).endswith(".PretrainTask")
    if sweep.metric.name == "val/total" and any(name[-1] == "weight" for name in names):
        yield "val/total is a weighted sum: with weights that vary, totals cannot be compared"
    if is_pretraining and any("masking" in name for name in names):
        yield (
            f"what is hidden makes {sweep.metric.name} easy or hard: with masking that varies, "
            "compare the encoders by fine-tuning"
        )
    if not any("wandb" in name.lower() for name in _logger_names(config.trainer.get("logger"))):
        yield "wandb's server would see no metric; put --trainer.logger wandb into the command"
    if config.trainer.get("limit_val_batches") == 0:
        yield "limit_val_batches is 0, so nothing is validated"


def _logger_names(loggers: Any) -> list[str]:  # noqa: ANN401 - Lightning's union of many types
    one_or_more = loggers if isinstance(loggers, list) else [loggers]
    return [str(one.class_path) for one in one_or_more if isinstance(one, Namespace)]
