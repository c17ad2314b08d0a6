"""Contracts of heads: those that score themselves, and those that answer a task."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Head(nn.Module, ABC):
    """Anything that reads the features of a backbone."""


class TaskHead(Head):
    """Answers a task from an image and the features of a backbone.

    A subclass takes the backbone it reads and the number of outputs as its only positional
    arguments.

    Attributes:
        num_outputs: Channels of an answer.
        num_auxiliary: Auxiliary answers for deep supervision, at most.
        stems: Names of the weights that read the image itself; axis 1 is its channels.
    """

    num_outputs: int
    num_auxiliary: int = 0
    stems: tuple[str, ...] = ()

    @abstractmethod
    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        """Return answers as logits, the true one first.

        Args:
            image: What the backbone saw, ``b c x y z``.
            features: What it made of it, finest level first.
            auxiliary: Whether answers from coarser levels follow, the coarsest first, in the shape
                of the first: deep supervision.

        Returns:
            ``b num_outputs x y z`` each for segmentation, ``b num_outputs`` for classification.
        """

    def limit_auxiliary(self, num: int) -> None:
        """Freeze the layers of auxiliary answers that nothing scores: all but the finest `num`."""
        layers = self.auxiliary_layers()
        for layer in layers[: max(0, len(layers) - num)]:
            layer.requires_grad_(False)

    def auxiliary_layers(self) -> list[nn.Module]:
        """Return the layers of the auxiliary answers, coarsest first."""
        return []

    def pretrained_names(self) -> dict[str, str]:
        """Return which tensors can start from those of a reconstruction decoder.

        Names in this head to names in the decoder, such as ``up.0.weight``; shapes may differ, then
        nothing is taken.
        """
        return {}


class LossHead(Head):
    """Predicts from the features of a backbone and scores the prediction.

    A subclass takes the backbone it reads as its only positional argument and passes the schedule
    of its weight on.

    Args:
        weight: Factor of this head's loss in the total, at least 0.
        start_epoch: First epoch (counted from 0) in which the weight is above 0.
        ramp_epochs: Epochs over which the weight then rises linearly from 0.

    Raises:
        ValueError: If one of them is negative.
    """

    def __init__(self, *, weight: float = 1.0, start_epoch: int = 0, ramp_epochs: int = 0) -> None:
        super().__init__()
        if min(weight, start_epoch, ramp_epochs) < 0:
            raise ValueError(
                f"{type(self).__name__}: weight, start_epoch and ramp_epochs must not be negative, "
                f"got {weight}, {start_epoch}, {ramp_epochs}"
            )
        self.weight = weight
        self.start_epoch = start_epoch
        self.ramp_epochs = ramp_epochs

    @abstractmethod
    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the prediction for a pyramid of features, finest level first."""

    @abstractmethod
    def loss(
        self,
        prediction: Tensor,
        target: Tensor,
        share: Tensor,
        mask: Tensor | None = None,
        *,
        capacity: int | None = None,
    ) -> Tensor:
        """Score a prediction.

        Args:
            prediction: What `forward` returned, ``b ...``.
            target: What it should be, ``b ...``.
            share: Share of each sample in the loss, ``b``; the result is the sum of the samples'
                losses times their shares. A sample of share 0 has no influence at all.
            mask: True where the image was hidden, ``b 1 x y z``.
            capacity: Most samples that any process can have, the same number on all of them, for a
                loss that compares samples of different processes; None if it is not known.

        Returns:
            The unweighted loss, a scalar.
        """

    def weight_at(self, epoch: int) -> float:
        """Return the factor of this head's loss in `epoch`, counted from 0."""
        if epoch < self.start_epoch:
            return 0.0
        if self.ramp_epochs == 0:
            return self.weight
        return self.weight * min(1.0, (epoch - self.start_epoch + 1) / self.ramp_epochs)
