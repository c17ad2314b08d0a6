"""Memory of a step at any batch: counted for the smallest and the largest, between them a line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from brainmvp_lightning.tasks.base import Task
from brainmvp_lightning.tasks.rehearsal import Data, Setting
from brainmvp_lightning.tasks.step_cost import StepCost, count_step

GIB = 2**30

RESERVE = {"cuda": 1.0 * GIB, "cpu": 0.6 * GIB}
"""Bytes assumed for what is not counted: context, libraries and workspaces of CUDA; interpreter and
libraries on a CPU."""


@dataclass
class MemoryModel:
    """Counts steps, each kind of setting once.

    Attributes:
        build: Makes a new task.
        data: What is known of the data.
        device: ``"cuda"`` or ``"cpu"``.
        effective: Studies in a step of the optimiser.
    """

    build: Callable[[], Task]
    data: Data
    device: str
    effective: int
    _counted: dict[Setting, StepCost] = field(default_factory=dict)

    @property
    def reserve(self) -> int:
        """Bytes assumed for what is not counted."""
        return int(RESERVE[self.device])

    def count(self, setting: Setting) -> StepCost:
        """Return the cost of a step of exactly this setting, without `reserve`."""
        setting = replace(setting, compile=False)
        if setting not in self._counted:
            self._counted[setting] = count_step(self.build(), self.data, setting, self.device)
        return self._counted[setting]

    def estimate(self, setting: Setting) -> int:
        """Return the bytes of a process at its peak, from two counts.

        Between them lies a convex function, of which a line is an upper bound.
        """
        share = self.effective // setting.processes
        least = self._peak(replace(setting, batch_size=1, accumulation=share))
        if setting.batch_size == 1:
            return least
        largest = max(share, setting.batch_size)
        most = self._peak(
            replace(setting, batch_size=largest, accumulation=max(1, share // largest))
        )
        part = (setting.batch_size - 1) / (largest - 1)
        return round(least + part * (most - least))

    def exact(self, setting: Setting) -> int:
        """Return the bytes of a process at its peak, counted for this very setting."""
        return self._peak(setting)

    def _peak(self, setting: Setting) -> int:
        try:
            return self.count(setting).peak + self.reserve
        except ValueError:
            if setting.crop_size == self.data.description.crop_size:
                raise
            return sys.maxsize  # a crop that is none of the user's, and does not suit the task
