"""What a plan starts from: a configuration, read by the parser of ``fit``, and its data."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import DataDescription, LabelledDescription
from brainmvp_lightning.commands.plan_settings import Choice
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.tasks.rehearsal import PRECISIONS, Data, Setting
from brainmvp_lightning.volumes.cache import CacheError

PAPER_PROCESSES = 8
"""GPUs that a configuration stands for which leaves their number open (section 4.1: 8 x 3)."""

OUTER_OPTIONS = ("config", "seed_everything", "model", "data", "trainer", "print_config", "help")


@dataclass(frozen=True)
class Inputs:
    """A configuration in numbers.

    Attributes:
        setting: Batch, accumulation and so on, as configured.
        effective: Studies in a step of the optimiser.
        processes_are_open: Whether the number of processes was left to the machine.
        data: What is known of the data.
        num_studies: Studies of an epoch, each counted as often as it is visited; None if there is
            no cache yet.
        max_epochs: Epochs of the run; None if something else ends it.
        num_workers: As configured.
        num_nodes: As configured.
    """

    setting: Setting
    effective: int
    processes_are_open: bool
    data: Data
    num_studies: int | None
    max_epochs: int | None
    num_workers: int | str
    num_nodes: int = 1

    def choice(self, setting: Setting, task: Task, half: str | None) -> Choice:
        """Return what may be chosen from for a task.

        Args:
            setting: As configured, with the processes there will be.
            task: Says what its backbone can do.
            half: Precision of two bytes that the device is good at.
        """
        stages, stride = traits_of(task)
        return Choice(setting, self.effective, stages, half, stride)


def build_parts(parser: Any, config: Any) -> tuple[Task, Any]:  # noqa: ANN401 - jsonargparse's
    """Return a new task and data module, without the trainer's loggers and callbacks."""
    bare = config.clone()
    bare.trainer.logger, bare.trainer.callbacks = False, None
    built = parser.instantiate_classes(bare)
    return built.model, built.data


def read_inputs(config: Any, task: Task, datamodule: Any) -> Inputs:  # noqa: ANN401 - jsonargparse's
    """Return a configuration in numbers.

    Raises:
        ValueError: If its precision is none that can be planned, or fine-tuning data are missing.
    """
    trainer, options = config.trainer, config.data.init_args
    precision = {None: "32-true", "32": "32-true", 32: "32-true"}.get(
        trainer.precision, trainer.precision
    )
    if precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision {precision} cannot be planned; use {', '.join(PRECISIONS)}"
        )
    nodes = int(trainer.num_nodes or 1)
    given = num_devices(trainer.devices)
    setting = Setting(
        batch_size=options.batch_size,
        accumulation=trainer.accumulate_grad_batches or 1,
        processes=nodes * (given or PAPER_PROCESSES),
        crop_size=tuple(options.crop_size),
        precision=precision,
        checkpointing=bool(config.model.init_args.get("checkpointing")),
        compile=config.model.init_args.get("compile") or False,
    )
    data, num_studies = _data(task, datamodule, setting, int(options.get("seed") or 0))
    return Inputs(
        setting=setting,
        effective=setting.effective_batch,
        processes_are_open=given is None,
        data=data,
        num_studies=num_studies,
        max_epochs=trainer.max_epochs,
        num_workers=options.num_workers,
        num_nodes=nodes,
    )


def traits_of(task: Task) -> tuple[bool, int]:
    """Return whether activations can be computed again, and what sides of crops go up in."""
    backbones = [part for part in task.modules() if isinstance(part, Backbone)]
    can_checkpoint = bool(backbones) and all(backbone.all_blocks() for backbone in backbones)
    # Multiples of 16 suit maskings, whose blocks are smaller powers of two.
    return can_checkpoint, math.lcm(16, *(backbone.strides[-1] for backbone in backbones))


def check_words(words: list[str], own: list[str]) -> None:
    """See that options which are not those of ``fit`` are those of ``plan``.

    Raises:
        ValueError: If one is neither; it names the nearest of ours.
    """
    for word in words:
        name = word.partition("=")[0]
        is_outer = name.removeprefix("--").partition(".")[0] in OUTER_OPTIONS
        if name.startswith("--") and not is_outer:
            close = difflib.get_close_matches(name, own, n=1, cutoff=0.6)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(
                f"unknown option {name}{hint} (options: {', '.join(own)}, and those of "
                "brainmvp fit)"
            )


def num_devices(devices: Any) -> int | None:  # noqa: ANN401 - what Lightning takes
    """Return how many processes a node has; None if that is left to the machine."""
    if isinstance(devices, list):
        return len(devices)
    text = str(devices)
    if text in ("auto", "-1", "None"):
        return None
    return len(text.split(",")) if "," in text else int(text)


def _data(
    task: Task,
    datamodule: Any,  # noqa: ANN401 - any data module
    setting: Setting,
    seed: int,
) -> tuple[Data, int | None]:
    """Return what is known of the data, and how many studies an epoch visits."""
    crops = int(getattr(datamodule, "crops_per_visit", 1))
    try:
        description = datamodule.describe()
        datamodule.needs = getattr(task, "needs", getattr(datamodule, "needs", None))
        visits = int(getattr(datamodule, "visits_per_epoch", 1))
        num_studies = visits * len(datamodule.studies("train"))
    except (FileNotFoundError, CacheError) as error:
        description, num_studies = _assumed(task, datamodule, setting), None
        if description is None:
            raise ValueError(
                f"channels and classes of a fine-tuning come from its cache: {error}"
            ) from error
    rows = crops
    if not isinstance(description, LabelledDescription):
        rows = max(crops, description.targets_per_step // setting.batch_size)
    return Data(description, rows, seed), num_studies


def _assumed(task: Task, datamodule: Any, setting: Setting) -> DataDescription | None:  # noqa: ANN401
    """Return what the data of a pre-training would be if each template had its modality."""
    method: Any = getattr(task, "method", None)
    if method is None:
        return None
    templates = method.learned_templates()
    modalities = ("t1", "t2") if templates is None else templates.modalities
    takes_all = getattr(datamodule, "modalities_per_step", "1") == "all"
    per_crop = len(modalities) if takes_all else 1
    rows = setting.batch_size * int(getattr(datamodule, "crops_per_visit", 1)) * per_crop
    spacing, centre = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    return DataDescription(
        tuple(modalities), spacing, centre, setting.crop_size, targets_per_step=rows
    )
