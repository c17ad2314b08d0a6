"""A proposal tried for real."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from brainmvp_lightning.commands.plan_hardware import resident_memory
from brainmvp_lightning.commands.plan_inputs import Inputs
from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.tasks.rehearsal import Setting, run_steps


@dataclass(frozen=True)
class Measured:
    """What a step took for real."""

    seconds: float
    peak: int
    setting: Setting
    """How it was run."""


def verify(task: Task, inputs: Inputs, setting: Setting, device: torch.device) -> Measured:
    """Do real steps and return their time and peak memory.

    Args:
        task: A new one.
        inputs: What is known of the data.
        setting: How; on one process, whatever it says.
        device: Of this machine.
    """
    alone = replace(setting, processes=1)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _reset_peak()
    seconds = run_steps(
        task,
        inputs.data,
        alone,
        device,
        num_warmups=2 if on_gpu else 1,
        num=3 if on_gpu else 1,
    )
    peak = resident_memory("VmHWM")
    if on_gpu:
        free, total = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.max_memory_allocated(device)
        peak = total - free - unused  # with the context, and what others hold
    return Measured(sorted(seconds)[len(seconds) // 2], peak, alone)


def _reset_peak() -> None:
    """Let the system forget the largest memory that this process has had."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5")
