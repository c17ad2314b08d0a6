"""A plan in words, numbers and YAML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import yaml

from brainmvp_lightning.commands.plan_hardware import EFFICIENCY, Hardware, data_sheet
from brainmvp_lightning.commands.plan_inputs import PAPER_PROCESSES, Inputs
from brainmvp_lightning.commands.plan_memory import GIB
from brainmvp_lightning.commands.plan_trial import Measured
from brainmvp_lightning.tasks.rehearsal import MIXED, Setting
from brainmvp_lightning.tasks.step_cost import StepCost, num_flops, seconds_of


@dataclass(frozen=True)
class Tried:
    """A setting and the memory it needs."""

    setting: Setting
    peak: int


def memory_lines(cost: StepCost, reserve: int, hardware: Hardware, limit: float) -> list[str]:
    """Return the memory of a process, part by part."""
    rows = [
        ("weights", cost.weights, "counted"),
        ("templates", cost.templates, "counted"),
        ("moments", cost.moments, "counted, with all that the optimiser keeps"),
        ("batch", cost.batch, "counted"),
        ("activations", cost.activations, "counted: alive after the forward pass"),
        (
            "passing",
            cost.passing,
            f"counted: on top at the peak, such as gradients ({cost.gradients / GIB:.2f})",
        ),
        ("reserve", reserve, "assumed: libraries and workspaces"),
    ]
    lines = ["memory of a process, GiB"]
    lines += [f"  {name:<12}{size / GIB:8.2f}  {how}" for name, size, how in rows]
    total = cost.peak + reserve
    verdict = "fits" if total <= limit else "does not fit"
    there = f"{hardware.memory / GIB:.1f}, "
    if hardware.taken:
        there += f"{hardware.free / GIB:.1f} of them free, "
    lines.append(
        f"  {'peak':<12}{total / GIB:8.2f}  of {there}of which "
        f"{limit / GIB:.1f} may be used (the rest is left to fragments): {verdict}"
    )
    return lines


def tried_lines(tried: list[Tried], chosen: Setting | None, limit: float) -> list[str]:
    """Return a table of settings of one effective batch."""
    head = f"{'batch':>7}{'accumulation':>14}{'precision':>12}{'checkpointing':>15}{'peak GiB':>10}"
    lines = ["settings with the same effective batch (peaks between two counted ones)", head]
    for each in tried:
        setting = each.setting
        verdict = "fits" if each.peak <= limit else ""
        lines.append(
            f"{setting.batch_size:>7}{setting.accumulation:>14}{setting.precision:>12}"
            f"{str(setting.checkpointing).lower():>15}{each.peak / GIB:>10.1f}  "
            + ("proposed" if setting == chosen else verdict)
        )
    return lines


def batch_line(inputs: Inputs, chosen: Setting) -> str:
    """Return what is kept of the configuration."""
    own = inputs.setting
    source = f" (devices left open: {PAPER_PROCESSES}, the paper's)"
    text = (
        f"{own.batch_size} studies x {own.accumulation} accumulated x {own.processes} processes"
        f"{source if inputs.processes_are_open else ''}"
    )
    if inputs.effective != own.effective_batch:
        text = f"asked for, not {text}"
    line = (
        f"effective batch {inputs.effective} = {text}, "
        f"as {chosen.batch_size} x {chosen.accumulation} x {chosen.processes}"
    )
    together, configured = (each.batch_size * each.processes for each in (chosen, own))
    if together > configured:
        line += f"; norms and contrast see {together} studies at a time, not {configured}"
    return line


def estimated_seconds(cost: StepCost, setting: Setting, gib: float) -> tuple[float, str]:
    """Return the time of a step of the optimiser on a GPU that is not here, and its source."""
    rates = data_sheet(gib)
    flops = rates.half if setting.precision in MIXED else rates.single
    share = EFFICIENCY
    of_batch, of_update = (
        seconds_of(works, share * flops, share * rates.bandwidth)
        for works in (cost.works, cost.update)
    )
    return setting.accumulation * of_batch + of_update, (
        f"an estimate, never measured: {num_flops(cost.works) / 1e12:.2f} TFLOP a batch, rates of "
        f"the data sheet of an {rates.name} ({flops / 1e12:.0f} TFLOP/s, "
        f"{rates.bandwidth / 1e12:.2f} TB/s) at an assumed {share:.0%}, not compiled, data not "
        "waited for"
    )


def time_lines(inputs: Inputs, chosen: Setting, seconds: float, how: str) -> list[str]:
    """Return the time of a step, an epoch and the run."""
    lines = [f"time of a step of {inputs.effective} studies: {seconds:.3g} s ({how})"]
    if inputs.num_studies is None:
        lines.append("time of an epoch: not known, there is no cache yet to count studies in")
        return lines
    steps = max(1, math.ceil(inputs.num_studies / chosen.effective_batch))
    line = f"time of an epoch: {steps} steps, {_duration(steps * seconds)}"
    if inputs.max_epochs is not None and inputs.max_epochs > 0:
        run = inputs.max_epochs * steps * seconds
        line += f"; of {inputs.max_epochs} epochs: {_duration(run)}, validation not counted"
    return [*lines, line]


def verify_line(measured: Measured, modelled: int) -> str:
    """Return how far a real step was from the model of the same step."""
    return (
        f"verified by real steps on one process: peak {measured.peak / GIB:.2f} GiB measured, "
        f"{modelled / GIB:.2f} modelled, ratio {measured.peak / modelled:.2f}"
    )


def overlay(
    chosen: Setting, hardware: Hardware, inputs: Inputs, workers: int | str, *, on_cpu: bool
) -> str:
    """Return YAML that ``brainmvp fit`` takes after the configuration."""
    trainer: dict[str, Any] = {
        "devices": chosen.processes // inputs.num_nodes,
        "accumulate_grad_batches": chosen.accumulation,
        "precision": chosen.precision,
    }
    if inputs.num_nodes > 1:  # which may have been named on the command line only
        trainer["num_nodes"] = inputs.num_nodes
    if hardware.device == "cuda" and on_cpu:
        trainer["accelerator"] = "gpu"
    content = {
        "trainer": trainer,
        "model": {"init_args": {"checkpointing": chosen.checkpointing, "compile": chosen.compile}},
        "data": {
            "init_args": {
                "batch_size": chosen.batch_size,
                "crop_size": list(chosen.crop_size),
                "num_workers": workers,
            }
        },
    }
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None)
    return (
        f"# By brainmvp plan, for {chosen.processes} x {hardware.name}; effective batch "
        f"{chosen.effective_batch}.\n#   brainmvp fit -c CONFIG -c THIS_FILE\n{text}"
    )


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"
