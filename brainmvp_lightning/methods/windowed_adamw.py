"""AdamW for large volumes of which a step touches a few windows only."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

MAX_STEPS = 4096  # between two times at which all voxels are brought up to date; fits into 16 bits
_NEGLIGIBLE = 1e-9  # part of a first moment that may be forgotten
_TINY = 1e-30


class WindowedAdamW:
    """AdamW without weight decay whose step costs what it touches, not what there is.

    AdamW moves a voxel also in the steps that give it no gradient, by what is left of its first
    moment. Here such a voxel is left alone and catches up when it is next looked at. Since its last
    step its moments have become ``b1^n m`` and ``b2^n v``, and it has moved by
    ``d m / (sqrt(v) + r eps)`` with two numbers `d` and `r` that depend on that step and on the
    learning rates since, of which there are tables.

    The path of all voxels is that of `torch.optim.AdamW`, up to rounding and one difference: while
    a voxel is not touched, `eps` has its mean effect instead of that of each single step. Where
    ``sqrt(v)`` is far above `eps` this is nothing, elsewhere a small part of one step.

    Args:
        volumes: What learns, float32, any shape; changed in place.
        betas: Decay rates of the two moments.
        eps: Added to the root of the second moment.

    Attributes:
        num_steps: Steps so far.

    Raises:
        ValueError: If the first moment does not decay faster than the root of the second, or the
            volumes are not float32.

    Source:
        AdamW (arXiv 1711.05101); the table is ours.
    """

    def __init__(
        self, volumes: Tensor, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        if not betas_suit(betas):
            raise ValueError(
                f"windowed updates need betas whose first is below the root of the second, got "
                f"{betas}; set templates.update to dense"
            )
        if volumes.dtype != torch.float32:
            raise ValueError(
                f"windowed updates need volumes in float32, got {volumes.dtype}; set "
                "templates.update to dense"
            )
        self.volumes = volumes
        self.betas, self.eps = betas, eps
        self.num_steps = 0
        self._first = torch.zeros_like(volumes).view(-1)
        self._second = torch.zeros_like(volumes).view(-1)
        self._gradient = torch.zeros_like(volumes).view(-1)  # zero between steps
        # Step in which each voxel was last up to date, counted from `_settled`.
        self._last = torch.zeros_like(volumes, dtype=torch.int16).view(-1)
        self._settled = 0
        self._path, self._weighted = _tables(volumes.device)
        self._power1, self._power2 = (_powers(beta, volumes.device) for beta in betas)
        ratio = betas[0] / math.sqrt(betas[1])
        reach = min(MAX_STEPS, math.ceil(math.log(_NEGLIGIBLE) / math.log(ratio)) if ratio else 1)
        ages = torch.arange(reach, 0, -1, dtype=torch.float64)
        self._decay = (ratio**ages).float().to(volumes.device)
        self._weighted_decay = (betas[0] / betas[1]) ** ages
        self._weighted_decay = self._weighted_decay.float().to(volumes.device)

    @property
    def _values(self) -> Tensor:
        return self.volumes.detach().view(-1)

    @torch.no_grad()
    def read(self, places: Tensor) -> Tensor:
        """Return the values of some voxels, as they are by now, without changing anything.

        Args:
            places: Number of each voxel in the flattened volumes, ``n``, int32 or int64.
        """
        last = self._last.index_select(0, places).int()
        first, second = (part.index_select(0, places) for part in (self._first, self._second))
        return self._values.index_select(0, places).sub_(self._moved(first, second, last))

    @torch.no_grad()
    def step(self, windows: Tensor, gradients: Tensor, learning_rate: float) -> None:
        """Do one step with a gradient that is zero outside some windows.

        The result does not depend on the order in which a device works, so that processes that hand
        over the same windows keep the same volumes to the last bit.

        Args:
            windows: Numbers of voxels, ``w n``, int32 or int64; windows may overlap.
            gradients: Gradient of each, ``w n``; those of voxels in several windows add up.
            learning_rate: Learning rate of this step.
        """
        if self.num_steps - self._settled >= MAX_STEPS:
            self.settle()
        self.num_steps += 1
        places = windows.flatten()
        for window, gradient in zip(windows, gradients, strict=True):
            self._gradient.index_add_(0, window, gradient.to(self._gradient))
        total = self._gradient.index_select(0, places)
        targets = places.long()  # what several windows name is given the same value each time
        self._gradient.scatter_(0, targets, 0.0)

        beta1, beta2 = self.betas
        last = self._last.index_select(0, places).int()
        first, second = (part.index_select(0, places) for part in (self._first, self._second))
        values = self._values.index_select(0, places).sub_(self._moved(first, second, last))
        age = last.neg_().add_(self.num_steps - self._settled)  # at least 1, with this step
        first.mul_(self._power1.index_select(0, age)).add_(total, alpha=1 - beta1)
        second.mul_(self._power2.index_select(0, age)).addcmul_(total, total, value=1 - beta2)
        bias1, bias2 = 1 - beta1**self.num_steps, 1 - beta2**self.num_steps
        denominator = (second.sqrt() / math.sqrt(bias2)).add_(self.eps)
        values.addcdiv_(first, denominator, value=-learning_rate / bias1)
        self._values.scatter_(0, targets, values)
        self._first.scatter_(0, targets, first)
        self._second.scatter_(0, targets, second)
        self._extend_tables(learning_rate * math.sqrt(bias2) / bias1, math.sqrt(bias2))
        now = torch.full_like(age, self.num_steps - self._settled, dtype=torch.int16)
        self._last.scatter_(0, targets, now)

    @torch.no_grad()
    def settle(self) -> None:
        """Bring all voxels up to date; values and moments are then those of AdamW."""
        steps = self.num_steps - self._settled
        if steps == 0:
            return
        length = 1 << 22  # some voxels at a time, for the temporary ones need memory too
        for start in range(0, self._values.numel(), length):
            part = slice(start, start + length)
            last = self._last[part].int()
            first, second = self._first[part], self._second[part]
            self._values[part] -= self._moved(first, second, last)
            age = last.neg_().add_(steps)
            first *= self._power1.index_select(0, age)
            second *= self._power2.index_select(0, age)
        self._restart()

    def state(self) -> dict[str, Tensor]:
        """Return the state that `torch.optim.AdamW` would have; its tensors are shared."""
        self.settle()
        return {
            "step": torch.tensor(float(self.num_steps)),
            "exp_avg": self._first.view(self.volumes.shape),
            "exp_avg_sq": self._second.view(self.volumes.shape),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state of `torch.optim.AdamW`; the volumes are restored by who owns them."""
        self.num_steps = int(state["step"])
        self._first.copy_(state["exp_avg"].reshape(-1))
        self._second.copy_(state["exp_avg_sq"].reshape(-1))
        self._restart()

    def _moved(self, first: Tensor, second: Tensor, last: Tensor) -> Tensor:
        """Return how far voxels went against their first moment since they were last up to date."""
        places = last.flatten()
        path = self._path.index_select(0, places)
        weighted = self._weighted.index_select(0, places)
        # Both are 0 where nothing was missed; any quotient will do then.
        relief = weighted.add_(_TINY).div_(path + _TINY)
        return path.mul_(first).div_(second.sqrt().add_(relief.mul_(self.eps)))

    def _extend_tables(self, scale: float, root: float) -> None:
        """Let all voxels but those of this step move by what is left of their first moment."""
        now = self.num_steps - self._settled
        reach = min(now, len(self._decay))
        missed = slice(now - reach, now)
        self._path[missed].add_(self._decay[-reach:], alpha=scale)
        self._weighted[missed].add_(self._weighted_decay[-reach:], alpha=scale * root)

    def _restart(self) -> None:
        self._settled = self.num_steps
        self._last.zero_()
        self._path.zero_()
        self._weighted.zero_()


def betas_suit(betas: tuple[float, float]) -> bool:
    """Return whether windowed updates work with these decay rates: what is left alone must rest."""
    return 0 <= betas[0] < math.sqrt(betas[1]) < 1


def _powers(base: float, device: torch.device) -> Tensor:
    """Return ``base ** n`` for each number of steps that a voxel may miss."""
    return (base ** torch.arange(MAX_STEPS + 1, dtype=torch.float64)).float().to(device)


def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.zeros(MAX_STEPS + 1, device=device), torch.zeros(MAX_STEPS + 1, device=device)
