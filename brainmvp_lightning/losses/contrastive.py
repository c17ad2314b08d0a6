"""Contrast of two embeddings of the same samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from brainmvp_lightning.losses.gathering import gather_rows
from brainmvp_lightning.losses.precision import at_least_float32


class Candidates(NamedTuple):
    """What each embedding is compared with, over all processes; without gradient."""

    first: Tensor
    """First embeddings of all samples, ``n k``."""
    second: Tensor
    """Second embeddings of all samples, ``n k``."""
    share: Tensor
    """Share of each sample in the loss of its process, ``n``."""
    counts: Tensor
    """True for samples that count, ``n``; the others are no candidate for anybody."""
    start: int
    """Row of the first sample of this process."""

    def num_negatives(self) -> Tensor:
        """Return the number of negatives of each sample that counts, a scalar."""
        return (self.counts.sum() - 1).clamp(min=0)


def candidates_of(
    first: Tensor, second: Tensor, share: Tensor, *, gather: bool, capacity: int | None = None
) -> Candidates:
    """Collect the candidates of a contrast.

    Args:
        first: First embeddings, ``b k``.
        second: Second embeddings, ``b k``, same order.
        share: Share of each sample in the loss, ``b``; samples of share 0 do not count.
        gather: Whether to collect over all processes of the default group, which all must call
            this; otherwise each process compares its own samples only.
        capacity: Most samples that any process can have, the same number on all of them; then one
            collective does. Without it, as for a batch made by hand, the processes first agree on
            the most samples that one of them has, and each host waits for its device.

    Raises:
        ValueError: If all are to be collected and there are more samples than the capacity.
    """
    first, second = at_least_float32(first.detach()), at_least_float32(second.detach())
    if not gather:
        return Candidates(first, second, share, share > 0, 0)
    rows = torch.cat([first, second, share[:, None].to(first)], dim=1)  # b 2k+1
    rows, start = gather_rows(rows, capacity)  # n 2k+1; those that fill up have share 0
    first, second, shares = rows.split([first.shape[1], second.shape[1], 1], dim=1)
    return Candidates(first, second, shares[:, 0], shares[:, 0] > 0, start)


def symmetric_info_nce(
    first: Tensor,
    second: Tensor,
    temperature: float,
    *,
    share: Tensor | None = None,
    candidates: Candidates | None = None,
) -> Tensor:
    """Pull together the two embeddings of each sample, push apart those of different samples.

    If each process takes shares that sum to 1 and candidates gathered from all, then the mean over
    processes, and of their gradients, is that of one process with the whole batch. For that, each
    process scores the samples of all, ``n n`` similarities, and so finds what its embeddings do to
    the losses of the others without asking them: the value is that of its own samples, the gradient
    that of the sum over all processes. Every process must thus weigh this loss alike.

    Args:
        first: Embeddings of the cross-modally masked images, ``b k``.
        second: Embeddings of the template-masked images, ``b k``, same order.
        temperature: Softness tau of the softmax, above 0.
        share: Share of each sample in the loss, ``b``; 1 / b each if not given.
        candidates: What the embeddings are compared with; each other if not given.

    Returns:
        The sum over samples of share times the mean of both directions, a scalar in float32 or
        finer. It is 0, with gradients of 0, where fewer than two samples count.

    Source:
        BrainMVP, equations 4 and 5.
    """
    first, second = at_least_float32(first), at_least_float32(second)
    if share is None:
        share = torch.full_like(first[:, 0], 1 / max(1, len(first)))
    if candidates is None:
        candidates = candidates_of(first, second, share, gather=False)
    if len(candidates.first) == 0:
        return 0 * (first.sum() + second.sum())
    start = candidates.start
    costs = _costs(
        _insert(first, candidates.first, start),
        _insert(second, candidates.second, start),
        candidates.counts,
        temperature,
    )
    costs = _insert(share, candidates.share, start) * costs  # n
    total = costs.sum()
    if len(costs) == len(first):
        return total
    own = costs.detach()[start : start + len(first)].sum()
    return own + (total - total.detach())  # adds 0 to the value, and the gradient of all


def _insert(own: Tensor, rows: Tensor, start: int) -> Tensor:
    """Return the rows of all processes, with gradient for those of this one."""
    if len(own) == len(rows):
        return own
    return torch.cat([rows[:start], own, rows[start + len(own) :]])


def _costs(first: Tensor, second: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """Return the cost of telling the partner of each sample, mean of both directions, ``n``."""
    # Products in half precision, or of the ten bits that a GPU keeps of float32 factors where
    # trainings allow it, would lose what a small temperature magnifies.
    wide = torch.float64 if first.is_cuda else first.dtype
    with torch.autocast(first.device.type, enabled=False):
        logits = ((first / temperature).to(wide) @ second.T.to(wide)).to(first.dtype)  # n n
    # A finite stand-in for minus infinity, also when two are added: 0 * finite is 0, not NaN.
    lowest = torch.finfo(logits.dtype).min / 4
    logits = logits.masked_fill(~(counts[:, None] & counts), lowest)
    both = logits.logsumexp(dim=1) + logits.logsumexp(dim=0)
    return both / 2 - logits.diagonal()
