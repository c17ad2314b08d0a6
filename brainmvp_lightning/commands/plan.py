"""``brainmvp plan``: batch, accumulation and memory of a training before it is started."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from brainmvp_lightning.commands import plan_report as report
from brainmvp_lightning.commands.out_of_memory import is_out_of_memory
from brainmvp_lightning.commands.parsing import inner_reason, positional_configs
from brainmvp_lightning.commands.plan_hardware import Hardware, find_hardware
from brainmvp_lightning.commands.plan_inputs import Inputs, build_parts, check_words, read_inputs
from brainmvp_lightning.commands.plan_memory import GIB, MemoryModel
from brainmvp_lightning.commands.plan_settings import (
    Choice,
    batches,
    first_that_fits,
    num_processes,
    proposals,
)
from brainmvp_lightning.commands.plan_trial import Measured, verify
from brainmvp_lightning.commands.trainer import BrainMVPCLI
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.tasks.rehearsal import Setting, prepare
from brainmvp_lightning.tasks.step_cost import num_flops

SUMMARY = "propose batch, accumulation, precision and checkpointing for the memory there is"
MOST_WORKERS = 8


class PlanCLI(BrainMVPCLI):
    """Reads a configuration as ``fit`` does, but builds only what it is asked for."""

    prog = "brainmvp plan"

    def __init__(self, args: list[str]) -> None:
        super().__init__(args, run=False)

    def instantiate_classes(self) -> None:
        """Build nothing yet."""

    def _add_instantiators(self) -> None:
        """Leave what builds classes alone; it is used several times here."""

    def build(self) -> tuple[Task, Any]:
        """Return a new task and its data module."""
        return build_parts(self.parser, self.config)


def main(argv: list[str]) -> int:
    """Run the command; return 0 for a plan, 1 if nothing fits, 2 if the call is wrong."""
    torch.set_float32_matmul_precision("high")  # as `fit` does, or what is timed is another step
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    words = positional_configs(rest)
    own = [name for action in parser._actions for name in action.option_strings]
    warnings.filterwarnings("ignore", "(?s).*(JsonargparseDeprecationWarning|deprecated in v4).*")
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    try:
        _check_numbers(options)
        check_words(words, [name for name in own if name.startswith("--")])
        if not any(word.partition("=")[0] in ("-c", "--config") for word in words):
            raise ValueError("name the configuration to plan for with --config")
        return _plan(PlanCLI(words), options)
    except (ValueError, TypeError, OSError) as error:
        sys.stderr.write(f"brainmvp plan: error: {inner_reason(str(error))}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="brainmvp plan",
        description=SUMMARY,
        epilog="further options are those of brainmvp fit, such as --config and --data.cache",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--gpu-mem", type=float, metavar="GIB", help="memory of a GPU that is not here")
    add("--gpus", type=int, help="GPUs of a node; all there are, or one that is not here")
    add("--cores", type=int, help="cores of the CPU of a node; all there are")
    add("--target", type=float, default=0.9, help="share of the memory to use (0.9)")
    add("--effective-batch", type=int, metavar="N", help="studies a step, if not as configured")
    add(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="try the proposal for real, if its device is here",
    )
    add(
        "-o", "--output", type=Path, metavar="PLAN.YAML", help="write the proposal for brainmvp fit"
    )
    return parser


def _check_numbers(options: argparse.Namespace) -> None:
    """Raise a `ValueError` for a number that makes no sense."""
    if not 0 < options.target <= 1:
        raise ValueError(f"--target is a share of the memory in (0, 1], got {options.target}")
    for name in ("gpu_mem", "gpus", "cores", "effective_batch"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {value:g}")
    if options.gpus is not None and options.gpu_mem is None and not torch.cuda.is_available():
        raise ValueError(
            f"--gpus {options.gpus} needs --gpu-mem, the memory of one of them in GiB: there is no "
            "GPU here"
        )


def _plan(cli: PlanCLI, options: argparse.Namespace) -> int:
    accelerator = str(cli.config.trainer.accelerator)
    on_cpu = accelerator == "cpu"
    hardware = find_hardware(options.gpu_mem, options.gpus, options.cores, on_cpu=on_cpu)
    task, datamodule = cli.build()
    inputs = read_inputs(cli.config, task, datamodule)
    if options.effective_batch is not None:
        inputs = replace(inputs, effective=options.effective_batch)
    most = hardware.processes * inputs.num_nodes
    processes = num_processes(inputs.effective, most, inputs.num_nodes)
    start = replace(inputs.setting, processes=processes)
    prepare(task, inputs.data, start, hardware.device)  # networks of a fine-tuning are built late
    choice = inputs.choice(start, task, "bf16-mixed" if hardware.device == "cuda" else None)
    model = MemoryModel(lambda: cli.build()[0], inputs.data, hardware.device, inputs.effective)
    limit = options.target * hardware.free
    _say(_title(task, hardware, processes))
    del task  # its memory would be taken for that of a step
    chosen = choose(choice, model, limit)
    tried = [report.Tried(setting, model.estimate(setting)) for setting in _grid(choice)]
    _say(*report.tried_lines(tried, chosen, limit))
    _say(*_cost_of_checkpointing(choice, model), "")
    if chosen is None:
        sys.stderr.write(
            f"brainmvp plan: nothing fits into {limit / GIB:.1f} GiB, not even a batch of 1 with "
            "activations computed again and the smallest crop; use a smaller network or templates\n"
        )
        return 1
    return _finish(cli, options, hardware, inputs, model, chosen)


def choose(choice: Choice, model: MemoryModel, limit: float) -> Setting | None:
    """Return the first proposal that fits, counted for itself; None if none does."""
    return first_that_fits(
        (setting for setting in proposals(choice) if model.estimate(setting) <= limit),
        model.exact,
        limit,
    )


def _grid(choice: Choice) -> list[Setting]:
    own = choice.configured
    return [
        replace(own, batch_size=batch_size, accumulation=accumulation, checkpointing=recomputes)
        for batch_size, accumulation in batches(choice)
        for recomputes in ([False, True] if choice.may_checkpoint else [own.checkpointing])
    ]


def _cost_of_checkpointing(choice: Choice, model: MemoryModel) -> list[str]:
    """Return how many operations checkpointing adds, if it can be chosen."""
    if not choice.may_checkpoint or choice.configured.checkpointing:
        return []
    batch_size, accumulation = batches(choice)[-1]
    plain = replace(choice.configured, batch_size=batch_size, accumulation=accumulation)
    more = num_flops(model.count(replace(plain, checkpointing=True)).works)
    ratio = more / num_flops(model.count(plain).works)
    return [f"checkpointing changes no result, and computes {ratio:.2f} times as much (counted)"]


def _finish(
    cli: PlanCLI,
    options: argparse.Namespace,
    hardware: Hardware,
    inputs: Inputs,
    model: MemoryModel,
    chosen: Setting,
) -> int:
    """Report a proposal, write it, and try it if that is possible; return 1 if it does not fit."""
    cost = model.count(chosen)
    workers = _workers(inputs, hardware, chosen.processes)
    _say(report.batch_line(inputs, chosen))
    _say(
        f"precision {chosen.precision}, crop {list(chosen.crop_size)}, checkpointing "
        f"{str(chosen.checkpointing).lower()}, compile {str(chosen.compile).lower()}, "
        f"num_workers {workers}"
    )
    _say(*report.memory_lines(cost, model.reserve, hardware, options.target * hardware.free))
    if options.output is not None:  # before the trial, which the machine may not survive
        on_cpu = str(cli.config.trainer.accelerator) == "cpu"
        text = report.overlay(chosen, hardware, inputs, workers, on_cpu=on_cpu)
        options.output.write_text(text, encoding="utf-8")
        _say(f"written: {options.output}; brainmvp fit -c CONFIG -c {options.output}")
    if hardware.is_here and options.verify:
        measured = _tried(cli, inputs, chosen, hardware)
        if measured is None:
            sys.stderr.write(
                "brainmvp plan: the proposal does not fit for real: memory ran out in its first "
                f"steps, of {hardware.free / GIB:.1f} GiB that were free; plan again with --target "
                f"below {options.target:g}\n"
            )
            return 1
        _say(report.verify_line(measured, model.exact(measured.setting)))
        how = f"measured on this {hardware.name}, data not waited for"
        _say(*report.time_lines(inputs, chosen, measured.seconds, how))
    elif hardware.device == "cuda":
        seconds, how = report.estimated_seconds(cost, chosen, hardware.memory / GIB)
        _say(*report.time_lines(inputs, chosen, seconds, how))
    else:
        _say("time of a step: not known without --verify")
    return 0


def _tried(cli: PlanCLI, inputs: Inputs, chosen: Setting, hardware: Hardware) -> Measured | None:
    """Return what real steps took; None if memory ran out."""
    try:
        return verify(cli.build()[0], inputs, chosen, torch.device(hardware.device))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def _workers(inputs: Inputs, hardware: Hardware, processes: int) -> int | str:
    """Return processes that read ahead, for each process that trains on this node."""
    if isinstance(inputs.num_workers, str):
        return inputs.num_workers
    if hardware.device == "cpu":
        return min(inputs.num_workers, max(1, hardware.cores - 1))
    per_process = hardware.cores // max(1, processes // inputs.num_nodes)
    return max(1, min(MOST_WORKERS, per_process - 1))


def _title(task: Task, hardware: Hardware, processes: int) -> str:
    named = list(task.named_parameters())
    templates = sum(p.numel() for name, p in named if ".templates." in f".{name}")
    network = sum(p.numel() for _, p in named) - templates
    where = "here" if hardware.is_here else "named, not here"
    return (
        f"{type(task).__name__} on {processes} x {hardware.name} ({where}), {hardware.cores} "
        f"cores; {network / 1e6:.2f} M parameters of networks, {templates / 1e6:.2f} M of templates"
    )


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
