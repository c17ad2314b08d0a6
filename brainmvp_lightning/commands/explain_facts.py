"""What a configuration will do, found out without training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from brainmvp_lightning.callbacks.run_facts import data_facts
from brainmvp_lightning.commands.explain_networks import networks
from brainmvp_lightning.commands.explain_options import class_name, flat_options
from brainmvp_lightning.commands.explain_paper import EFFECTIVE_BATCH, departures, same
from brainmvp_lightning.commands.plan_hardware import find_hardware
from brainmvp_lightning.commands.plan_inputs import Inputs, num_devices, read_inputs
from brainmvp_lightning.commands.plan_memory import GIB, MemoryModel
from brainmvp_lightning.datamodules.sampling import StudySampler
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.volumes.cache import CacheError

Facts = dict[str, Any]
Build = Callable[[], tuple[Task, Any]]

WORDS_OF_TASK = {
    "PretrainTask": "pre-training without annotations",
    "SegmentationTask": "fine-tuning to segment",
    "ClassificationTask": "fine-tuning to classify",
}
WORDS_OF_TERM = {
    "cross_modal": "cross-modal reconstruction",
    "distillation": "distillation into modality templates",
    "contrast": "modality-aware contrast",
}


def all_facts(config: Any, build: Build, machine: str) -> Facts:  # noqa: ANN401 - jsonargparse's
    """Return what a configuration will do, section by section.

    Args:
        config: Of a fit, resolved.
        build: Makes task and data module anew.
        machine: Why this machine cannot run it; empty if it can.
    """
    plain = config.as_dict()
    options = flat_options(plain)
    task, data = build()
    found: Facts = {"what": what_runs(plain, options), "data": {}, "problems": []}
    found["data"] = _tried(lambda: data_counts(task, data, options), found)
    found["networks"] = _tried(lambda: networks(task, data, plain), found)
    found["batch"] = batch_facts(config.trainer, options)
    found["steps"] = step_facts(config.trainer, options, found)
    found["optimiser"] = optimiser_facts(options, found["steps"])
    found["memory"] = _tried(lambda: memory_facts(config, build), found)
    found["outputs"] = output_facts(plain["trainer"])
    found["seed"] = plain.get("seed_everything")
    found["machine"] = machine or "this one has what is asked for"
    found["departures"] = departure_facts(options, found["batch"]["effective"])
    found["problems"] = list(dict.fromkeys(found["problems"]))
    return found


def what_runs(config: Mapping[str, Any], options: Mapping[str, Any]) -> Facts:
    """Return task, method and start in words."""
    task = str(options["model"])
    found: Facts = {
        "task": task,
        "words": WORDS_OF_TASK.get(task, "a task of another package"),
        "data_module": str(options["data"]),
    }
    method = (config["model"].get("init_args") or {}).get("method")
    if isinstance(method, Mapping):
        terms = {
            WORDS_OF_TERM.get(name, name): _weight(options, name)
            for name in WORDS_OF_TERM
            if options.get(f"model.method.{name}") is not None
        }
        found |= {"method": class_name(method), "terms": terms}
        found["masking"] = _masking(options)
    elif task in WORDS_OF_TASK:
        found["starts_from"] = options.get("model.weights") or "random weights"
        found["substitution"] = options.get("model.substitution.weight")
    return found


def _weight(options: Mapping[str, Any], term: str) -> str:
    start = options.get(f"model.method.{term}.start_epoch") or 0
    text = f"weight {options.get(f'model.method.{term}.weight', 1.0):g}"
    return f"{text} from epoch {start}" if start else text


def _masking(options: Mapping[str, Any]) -> str:
    name = options.get("model.method.masking", "none")
    inside = "model.method.masking."
    given = [f"{key[len(inside) :]} {v}" for key, v in options.items() if key.startswith(inside)]
    return f"{name} ({', '.join(given)})" if given else str(name)


def data_counts(task: Task, data: Any, options: Mapping[str, Any]) -> Facts:  # noqa: ANN401
    """Return studies and scans that take part, if the cache is there.

    Raises:
        CacheError: If it is not.
    """
    if hasattr(data, "needs"):
        data.needs = getattr(task, "needs", data.needs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of studies that are left out; the counts say it
        found = data_facts(data)
    if found is None:
        raise ValueError(f"{type(data).__name__} reads no cache, so nothing can be counted")
    cache = data.cache
    own = {"cache": str(options["data.cache"]), "spacing_mm": cache.spacing_mm}
    return {**own, **found, "set_aside": cache.rejected}


def batch_facts(trainer: Any, options: Mapping[str, Any]) -> Facts:  # noqa: ANN401
    """Return the effective batch, with the processes that there would be on this machine."""
    here = torch.cuda.device_count() if trainer.accelerator != "cpu" else 0
    asked = num_devices(trainer.devices)
    processes = int(trainer.num_nodes or 1) * (asked or max(1, here))
    batch = int(options.get("data.batch_size") or 1)
    accumulation = int(trainer.accumulate_grad_batches or 1)
    return {
        "batch_size": batch,
        "accumulation": accumulation,
        "processes": processes,
        "processes_are_open": asked is None,
        "effective": batch * accumulation * processes,
        "precision": str(trainer.precision or "32-true"),
    }


def step_facts(trainer: Any, options: Mapping[str, Any], facts: Facts) -> Facts:  # noqa: ANN401
    """Return the steps of an epoch and of the run; None where they are not known."""
    batch, studies = facts["batch"], (facts["data"] or {}).get("studies", {}).get("train")
    most, epochs = _ends(trainer)
    each = _steps_of_epoch(trainer, options, batch, studies) if studies else None
    together = batch["batch_size"] * batch["processes"]
    if studies and studies < together:
        facts["problems"].append(
            f"a batch of {together} studies is larger than the {studies} of the training; it is "
            "cut to what there is"
        )
    ends = [each * epochs] if each is not None and epochs is not None else []
    total = min([*ends, *([most] if most is not None else [])], default=None)
    return {"epochs": epochs, "max_steps": most, "per_epoch": each, "total": total}


def _ends(trainer: Any) -> tuple[int | None, int | None]:  # noqa: ANN401
    """Return the most steps and epochs; None where there is no end."""
    if trainer.fast_dev_run:
        return int(trainer.fast_dev_run), 1
    most = None if trainer.max_steps in (None, -1) else int(trainer.max_steps)
    epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else None
    if most is None and trainer.max_epochs is None:
        epochs = 1000  # Lightning's own
    return most, epochs


def _steps_of_epoch(
    trainer: Any,  # noqa: ANN401 - options of any trainer
    options: Mapping[str, Any],
    batch: Facts,
    studies: int,
) -> int:
    sampler = StudySampler(
        studies,
        batch_size=batch["batch_size"],
        seed=0,
        visits=int(options.get("data.visits_per_epoch") or 1),
        world_size=batch["processes"],
    )
    batches = len(sampler)
    limit = int(trainer.fast_dev_run or 0) or trainer.overfit_batches or trainer.limit_train_batches
    if isinstance(limit, int):
        batches = min(batches, limit)
    elif limit is not None:
        batches = int(batches * limit)
    return math.ceil(batches / int(batch["accumulation"]))


def optimiser_facts(options: Mapping[str, Any], steps: Facts) -> Facts:
    """Return the optimiser with its schedule in words."""
    inside = "model.optimizer."
    own = {key[len(inside) :]: value for key, value in options.items() if key.startswith(inside)}
    if "learning_rate" not in own:
        return {"schedule": "that of the task"}
    peak, warmup = own["learning_rate"], own.get("warmup_epochs") or 0
    end = peak * (own.get("final_fraction") or 0)
    length = f"{steps['total']} steps" if steps["total"] else "the whole run"
    if steps["total"] is None and steps["epochs"]:
        length = f"{steps['epochs']} epochs"
    begin = f"a linear warm-up of {warmup:g} epochs to {peak:g}" if warmup else f"{peak:g}"
    words = f"AdamW from {begin}, cosine decay to {end:g} over {length}, step by step"
    return {**own, "schedule": words}


def memory_facts(config: Any, build: Build) -> Facts:  # noqa: ANN401
    """Return the memory of a process, counted as ``brainmvp plan`` does.

    Raises:
        ValueError: If the step cannot be counted.
    """
    task, data = build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs: Inputs = read_inputs(config, task, data)
    accelerator = str(config.trainer.accelerator)
    hardware = find_hardware(None, None, None, on_cpu=accelerator == "cpu")
    setting = inputs.setting
    model = MemoryModel(lambda: build()[0], inputs.data, hardware.device, inputs.effective)
    peak = model.exact(setting)
    return {
        "device": hardware.name,
        "gib": round(peak / GIB, 2),
        "available_gib": round(hardware.memory / GIB, 1),
        "fits": peak <= hardware.memory,
    }


def output_facts(trainer: Mapping[str, Any]) -> Facts:
    """Return where results go."""
    run = Path(trainer.get("default_root_dir") or ".")
    logger = trainer.get("logger")
    loggers = logger if isinstance(logger, list) else [logger]
    last = run / "checkpoints" / "last.ckpt"
    return {
        "run_folder": str(run),
        "loggers": [class_name(each) for each in loggers if each not in (None, False)],
        "callbacks": [class_name(each) for each in trainer.get("callbacks") or ()],
        "exists": run.is_dir(),
        "last_checkpoint": str(last) if last.is_file() else None,
    }


def departure_facts(options: Mapping[str, Any], effective: int) -> list[Facts]:
    """Return what differs from the paper, option by option."""
    task = str(options["model"])
    rows: list[Facts] = [
        {
            "option": each.fact.option,
            "here": each.here,
            "paper": each.fact.paper,
            "ours": each.fact.expected,
            "place": each.fact.place,
            "published": each.is_published,
        }
        for each in departures(task, options)
    ]
    wanted = EFFECTIVE_BATCH.get(task)
    if wanted is not None and not same(effective, wanted):
        place = {"PretrainTask": "section 4.1: 8 GPUs x 3"}.get(task, "supplement B.2 and B.3")
        rows.append(
            {
                "option": "effective batch",
                "here": effective,
                "paper": wanted,
                "ours": wanted,
                "place": place,
                "published": task == "PretrainTask" and effective == 2 * wanted,
            }
        )
    return rows


def _tried(find: Callable[[], Facts], facts: Facts) -> Facts | None:
    """Return some facts; None if they cannot be had, and why among the problems."""
    try:
        return find()
    except (ValueError, OSError, CacheError) as error:
        text = " ".join(str(error).split())
        if not any(known in text for known in facts["problems"]):  # a cause is told once
            facts["problems"].append(text)
        return None
