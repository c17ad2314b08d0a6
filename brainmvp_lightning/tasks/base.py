"""Contract of a task, and what all tasks do alike."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim import Optimizer

from brainmvp_lightning.batches import LabelledBatch, StudyBatch
from brainmvp_lightning.randomness import sample_key
from brainmvp_lightning.tasks.clipping import clip_gradients
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.reduction import choose_defaults
from brainmvp_lightning.tasks.sharding import (
    FullySharded,
    average_whole_gradients,
    clip_norm,
    shard,
)


class SetupError(ValueError):
    """A task, its checkpoint and the data do not belong together; one sentence with the remedy."""


class Task(pl.LightningModule):
    """A LightningModule of this package; its checkpoints load without running code."""

    def __init__(self) -> None:
        super().__init__()
        self.num_faults = 0
        """Files that could not be read since the start."""
        self._known_faults: set[str] = set()
        self._sent_faults: tuple[int, Tensor] | None = None
        self.resumes = False
        """Whether the run goes on from a checkpoint, so that nothing has to be built for it."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out hyper-parameters that are objects.

        Those of a configuration file are plain values. A task built in Python was given functions
        and classes, which ``torch.load(weights_only=True)`` rightly refuses.
        """
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            if not _is_plain(checkpoint.get(key)):
                del checkpoint[key]

    def configure_model(self) -> None:
        """Spread the weights over processes if the strategy says so.

        Raises:
            SetupError: If the strategy spreads them in a way that our checkpoints do not support.
        """
        if self._trainer is None:  # loaded from a checkpoint, to be used by itself
            return
        strategy = self.trainer.strategy
        choose_defaults(strategy, self)
        if not isinstance(strategy, ModelParallelStrategy):
            return
        if not isinstance(strategy, FullySharded):
            raise SetupError(
                f"trainer.strategy {type(strategy).__name__} writes checkpoints that no other run "
                "can read; use {class_path: FullySharded}"
            )
        try:
            shard(self, strategy)
        except ValueError as error:
            raise SetupError(str(error)) from error

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Average what sharding leaves to us; DDP has done it in the backward pass."""
        del optimizer
        if isinstance(self.trainer.strategy, FullySharded):
            average_whole_gradients(self)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as Lightning does, but also where some gradients are spread and some are not."""
        by_norm = gradient_clip_algorithm in (None, "norm")
        if gradient_clip_val and by_norm and isinstance(self.trainer.strategy, FullySharded):
            groups = optimizer.param_groups
            parameters = [parameter for group in groups for parameter in group["params"]]
            clip_norm(parameters, float(gradient_clip_val))
        else:
            clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_start(self) -> None:
        """Let the data module bring the trainer's counters in step with its place."""
        start = getattr(self.trainer.datamodule, "on_train_start", None)  # type: ignore[attr-defined]
        if start is not None:
            start()

    def check(self, data: Any, *, validates: bool) -> None:  # noqa: ANN401 - any data module
        """Look at the data before any work.

        Args:
            data: The data module of the run.
            validates: Whether the run has a validation.

        Raises:
            ValueError: If the data do not suit the task; the message is one sentence.
        """

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Make torch's own generator, which stochastic layers use, a function of the step."""
        del batch
        seed: Any = getattr(getattr(self.trainer, "datamodule", None), "seed", 0)
        epoch, rank = self.current_epoch, self.global_rank
        torch.manual_seed(sample_key(seed, epoch, batch_idx, rank, "step"))
        self._log_learning_rate()

    def _log_learning_rate(self) -> None:
        """Log the learning rate of the network; other groups keep their ratio to it."""
        options: AdamWOptions | None = getattr(self, "optimizer_options", None)
        if options is None or (self.global_step + 1) % self.log_interval():
            return  # only when a line is due: a GPU is waited for
        group = self.trainer.optimizers[0].param_groups[0]
        rate = options.learning_rate * group["lr"] / group.get("initial_lr", group["lr"])
        self.log("train/learning_rate", rate, batch_size=1)

    def log_interval(self) -> int:
        """Return the steps between two lines of a log."""
        trainer: Any = self.trainer
        return max(1, int(trainer.log_every_n_steps))

    def check_finite(self, terms: Mapping[str, Tensor], batch: StudyBatch | LabelledBatch) -> None:
        """Stop at the first loss term that is not a number.

        Raises:
            FloatingPointError: It names the term and the studies of the batch.
        """
        # On a GPU the question costs a synchronisation, so it is asked when logging asks anyway.
        is_due = self.global_step % self.log_interval() == 0
        if self.device.type != "cpu" and not is_due:
            return
        for name, term in terms.items():
            if not torch.isfinite(term):
                studies = ", ".join(dict.fromkeys(batch["study"]))
                raise FloatingPointError(
                    f"loss term {name!r} is {float(term.detach())} at step {self.global_step}, "
                    f"in a batch of {studies}; lower the learning rate, train in bf16-mixed or "
                    "32-true, and look at these studies' intensities"
                )

    def report_faults(self, batch: StudyBatch | LabelledBatch) -> None:
        """Name each file that was set aside once, and count."""
        for fault in batch["faults"]:
            self.report_fault(f"set aside: {fault}")
        if not self.trainer.predicting:  # a prediction takes no logs
            self.log("data/faults", self._faults_on_device(), batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Log the faults of all processes, which all come here; a step's line has the first's."""
        if self.trainer.world_size > 1:
            count = self._faults_on_device()
            self.log("data/faults_of_all", count, batch_size=1, sync_dist=True, reduce_fx="sum")

    def _faults_on_device(self) -> Tensor:
        """Return the count as a tensor that is only sent to a device when it has changed.

        A number would be copied at each step, and the host would wait for the device each time.
        """
        known = self._sent_faults
        if known is None or known[0] != self.num_faults or known[1].device != self.device:
            count = torch.tensor(float(self.num_faults), device=self.device)
            known = self._sent_faults = (self.num_faults, count)
        return known[1]

    def report_fault(self, fault: str) -> None:
        """Count a fault; print it the first time, with several processes by each of them."""
        self.num_faults += 1
        if fault not in self._known_faults:
            self._known_faults.add(fault)
            sentence = f"fault {len(self._known_faults)}: {fault}"
            if self._trainer is not None and self.trainer.world_size > 1:
                sys.stderr.write(f"process {self.global_rank}: {sentence}\n")
            else:
                self.print(sentence)


def _is_plain(value: Any) -> bool:  # noqa: ANN401 - anything at all
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
