"""What is wrong with a training that can be told before anything is built."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.commands.parsing_files import ConfigError, Written
from brainmvp_lightning.commands.parsing_nearest import question
from brainmvp_lightning.commands.parsing_types import classes_of
from brainmvp_lightning.datamodules.base import StudyDataModule
from brainmvp_lightning.masking.registry import MASKING
from brainmvp_lightning.methods.registry import METHODS
from brainmvp_lightning.registry import Registry
from brainmvp_lightning.tasks.acceleration import check_backend
from brainmvp_lightning.tasks.base import Task

OTHER_NETWORK = "Error(s) in loading state_dict"
EXAMPLES = {"model": "PretrainTask", "data": "PretrainDataModule"}
LARGEST_SEED = 2**32
HALF = ("bf16-mixed", "bf16-true", "bf16")
OLDEST_FOR_BFLOAT16 = (8, 0)
"""Compute capability of NVIDIA's Ampere generation, the first with bfloat16."""


def check_classes(written: Sequence[Written]) -> None:
    """See that task and data are named by class, in one of several files at least.

    Raises:
        ConfigError: If one is described, but nowhere named.
    """
    for option, example in EXAMPLES.items():
        inside = [
            entry
            for entry in written
            if entry.path.partition(".")[0] == option and not entry.path.endswith(".help")
        ]
        if inside and not any(entry.path == option and entry.value for entry in inside):
            place = f" ({inside[0].place})" if inside[0].place else ""
            raise ConfigError(
                f"no class is named for {option!r}; write class_path beside init_args, such as "
                f"class_path: {example}, or give the complete configuration before this one{place}"
            )


def check_numbers(config: Any) -> None:  # noqa: ANN401 - options of a command
    """See that numbers are within their range, and that the run folder can be written.

    Raises:
        ValueError: If one is not.
    """
    trainer = config.trainer
    for option, example in EXAMPLES.items():
        if config[option] is None:
            raise ValueError(f"{option} is null; name a class, such as {example}")
    task, data = (config[name].get("init_args") or {} for name in ("model", "data"))
    optimizer = task.get("optimizer") or {}
    for option, value, least in (
        ("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches, 1),
        ("trainer.num_nodes", trainer.num_nodes, 1),
        ("data.batch_size", data.get("batch_size"), 1),
        ("data.visits_per_epoch", data.get("visits_per_epoch"), 1),
        ("model.optimizer.weight_decay", optimizer.get("weight_decay"), 0),
        ("model.optimizer.warmup_epochs", optimizer.get("warmup_epochs"), 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"{option} is {value}; use at least {least}")
    rate = optimizer.get("learning_rate")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"model.optimizer.learning_rate is {rate}; use a number above 0")
    seed = config.get("seed_everything")
    if not isinstance(seed, bool) and seed is not None and not 0 <= seed < LARGEST_SEED:
        raise ValueError(f"seed_everything is {seed}; use a number from 0 to {LARGEST_SEED - 1}")
    if any(side < 1 for side in data.get("crop_size") or ()):
        raise ValueError(f"data.crop_size is {list(data['crop_size'])}; use sides of at least 1")
    _check_folder(trainer.default_root_dir)


def check_machine(config: Any) -> None:  # noqa: ANN401 - options of a command
    """See that the machine has what a training asks for.

    Raises:
        ValueError: If it has not; the message says what it has.
    """
    trainer, compiles = config.trainer, (config.model.get("init_args") or {}).get("compile")
    if isinstance(compiles, str):
        check_backend(compiles)
    accelerator, strategy = trainer.accelerator, trainer.strategy
    accelerators = ["auto", "gpu", *AcceleratorRegistry.available_accelerators()]
    if isinstance(accelerator, str):
        _check_name(accelerator, accelerators, "trainer.accelerator")
    if isinstance(strategy, str):
        known = ["auto", *StrategyRegistry.available_strategies()]
        if strategy not in known:
            short = [name for name in known if "_" not in name]  # not each variant of each
            _check_name(strategy, short, "trainer.strategy")
    gpus = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda"):
        _check_gpus(trainer.devices, gpus)
    starts_cuda = isinstance(strategy, str) and ("fork" in strategy or "notebook" in strategy)
    wants_half = trainer.precision in HALF and not starts_cuda  # looking would start CUDA too early
    if accelerator in ("auto", "gpu", "cuda") and gpus and wants_half:
        _check_bfloat16(trainer.precision)
    if accelerator == "cpu" or (accelerator == "auto" and not gpus):
        _check_cpus(trainer.devices)


def other_network(message: str) -> str:
    """Return one sentence for what torch says of tensors that do not fit a network.

    Args:
        message: Of ``load_state_dict``.
    """
    lacks = re.search(r'Missing key\(s\) in state_dict: "([^"]+)"', message)
    shape = r"(\S*\(.*?\))"
    sizes = re.search(rf"size mismatch for (\S+): .*? shape {shape} from .*? is {shape}", message)
    found = f"it lacks {lacks[1]}" if lacks else "it has other tensors"
    if sizes and not lacks:
        there, here = (size.replace("torch.Size(", "").rstrip(")") for size in sizes.groups()[1:])
        found = f"its {sizes[1]} is {there}, here {here}"
    return (
        f"the checkpoint is of another network ({found}); keep the networks and sizes of the run "
        "that wrote it (brainmvp explain CHECKPOINT shows them)"
    )


def option_homes(
    classes: Iterable[type], registries: Iterable[Registry[Any]]
) -> tuple[tuple[str, type], ...]:
    """Return where options of tasks, data modules and parts stand, for hints."""
    homes: list[tuple[str, type]] = []
    for cls in classes:
        if issubclass(cls, Task):
            homes.append(("model", cls))
        elif issubclass(cls, StudyDataModule):
            homes.append(("data", cls))
    places = {BACKBONES: "model.backbone", METHODS: "model.method", MASKING: "model.method.masking"}
    for registry in registries:
        if registry in places:
            homes += [(places[registry], registry.get(name)) for name in registry.names()]
    return (*homes, *(inner for home, cls in homes for inner in _option_groups(home, cls)))


def _option_groups(home: str, cls: type) -> Iterator[tuple[str, type]]:
    """Yield the groups of options that a class takes, each with its place."""
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            hints = {**get_type_hints(base.__init__), **hints}  # type: ignore[misc]
            kinds = {known.kind for known in inspect.signature(base).parameters.values()}
            if inspect.Parameter.VAR_KEYWORD not in kinds:  # it hands no options through
                break
    for name, hint in hints.items():
        for group in classes_of(hint):
            if dataclasses.is_dataclass(group):
                yield f"{home}.{name}", group


def _check_folder(folder: str | None) -> None:
    path = Path(folder or ".").absolute()
    there = next(part for part in (path, *path.parents) if part.exists())
    if not there.is_dir():
        raise ValueError(
            f"trainer.default_root_dir is {folder}, but {there} is a file; name a folder"
        )
    if not os.access(there, os.W_OK):
        raise ValueError(
            f"trainer.default_root_dir is {folder}, but nothing can be written to {there}; choose "
            "another folder"
        )


def _check_name(name: str, known: Iterable[str], option: str) -> None:
    names = sorted(set(known))
    if name not in names:
        raise ValueError(
            f"{option} {name!r} is unknown{question(name, names)} (known: {', '.join(names)})"
        )


def _check_gpus(devices: Any, gpus: int) -> None:  # noqa: ANN401 - what Lightning takes
    if not gpus:
        raise ValueError(
            "trainer.accelerator asks for a GPU, but none can be used here; set it to cpu, or look "
            "at nvidia-smi and at the CUDA version of torch"
        )
    text = str(devices)
    asked = len(devices) if isinstance(devices, list) else int(text) if text.isdigit() else 0
    numbers = [int(n) for n in devices] if isinstance(devices, list) else []
    if asked > gpus or any(number >= gpus for number in numbers):
        raise ValueError(
            f"trainer.devices asks for {devices} GPUs, but there are {gpus}; set it to {gpus} or "
            "auto, and trainer.num_nodes for several machines"
        )


def _check_cpus(devices: Any) -> None:  # noqa: ANN401 - what Lightning takes
    text = str(devices)
    if text != "auto" and not (text.isdigit() and int(text) > 0):
        raise ValueError(
            f"trainer.devices is {devices}, which a CPU cannot serve; use auto or the number of "
            "processes"
        )


def _check_bfloat16(precision: str) -> None:
    name, capability = torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0)
    if capability < OLDEST_FOR_BFLOAT16:
        raise ValueError(
            f"trainer.precision {precision} is emulated by {name}, which is slower than none; use "
            "16-mixed or 32-true on GPUs older than NVIDIA's Ampere"
        )
