"""The networks of a configuration: their parts, how large they are and what of them learns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from brainmvp_lightning.commands.explain_options import class_name
from brainmvp_lightning.inference.components import build_backbone, component_spec
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.tasks.finetune import FineTuneTask
from brainmvp_lightning.tasks.pretrain import PretrainTask
from brainmvp_lightning.volumes.cache import CacheError

Facts = dict[str, Any]


def networks(task: Task, data: Any, config: Mapping[str, Any]) -> Facts:  # noqa: ANN401
    """Return the parameters of each part, and how many of them learn.

    Raises:
        ValueError: If the network does not suit the data, or weights cannot be used.
        OSError: If there are no such weights.
        CacheError: If the network depends on data that are not there.
    """
    if isinstance(task, FineTuneTask):
        return _fine_tuned(task, data, config)
    backbone = getattr(task, "backbone", None)  # of a task of another package, maybe none
    templates: Any = None
    if isinstance(task, PretrainTask):
        learned = task.method.learned_templates()
        templates = None if learned is None else learned.values
    numbers = _numbers(task)
    of_templates = 0 if templates is None else templates.numel()
    of_backbone = 0 if backbone is None else _numbers(backbone)["total"]
    return {
        "backbone": {"name": _name(config, "backbone"), "parameters": of_backbone},
        "heads": {"parameters": numbers["total"] - of_backbone - of_templates},
        "templates": {"parameters": of_templates, "shape": _shape(templates)},
        **numbers,
        "frozen": [],
    }


def _fine_tuned(task: FineTuneTask, data: Any, config: Mapping[str, Any]) -> Facts:  # noqa: ANN401
    frozen = ["backbone"] if task.freezes_encoder else []
    try:
        data.describe()
    except CacheError:
        channels = len((config["data"].get("init_args") or {}).get("modalities") or ())
        if not channels:
            raise
        backbone = build_backbone(component_spec(task.start.backbone), channels)
        total = _numbers(backbone)["total"]
        return {
            "backbone": {"name": _name(config, "backbone"), "parameters": total},
            "heads": {"parameters": None},
            "frozen": frozen,
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of studies that are left out; the counts say it
        task.check(data, validates=False)
    model: Any = task.model
    of_backbone = _numbers(model.backbone)["total"]
    return {
        "backbone": {"name": _name(config, "backbone"), "parameters": of_backbone},
        "heads": {"name": type(model.head).__name__, "parameters": _numbers(model.head)["total"]},
        "templates": {"parameters": 0, "given": model.templates is not None},
        **_numbers(model),
        "frozen": frozen,
        "channels": list(model.description.modalities),
    }


def _numbers(module: torch.nn.Module) -> dict[str, int]:
    parameters = list(module.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
    }


def _name(config: Mapping[str, Any], part: str) -> str:
    return class_name((config["model"].get("init_args") or {}).get(part))


def _shape(templates: Any) -> list[int]:  # noqa: ANN401 - a tensor or None
    return [] if templates is None else list(templates.shape)
