"""Stopping trials that are behind: wandb's hyperband."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from brainmvp_lightning.sweeps.names import nearest

_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_LONGEST = 10**6


@dataclass(frozen=True)
class Bands:
    """At which validations trials are compared.

    Attributes:
        ends: Numbers of validations, ascending.
        eta: One of so many goes on.
        is_strict: As written; we always compare at each end, once.
    """

    ends: tuple[int, ...]
    eta: float
    is_strict: bool = False

    def falls_behind(
        self, own: Sequence[float], others: Iterable[Sequence[float]], *, is_higher_better: bool
    ) -> bool:
        """Tell whether a trial should stop at the last band that it has reached.

        It goes on if its best so far is no worse than that of the trial at place ``n / eta``,
        counted from 0, of the n that have come as far, itself included; this is wandb's rule.

        Args:
            own: The metric at each of its validations.
            others: Those of the other trials.
            is_higher_better: Whether the highest is best.
        """
        reached = [end for end in self.ends if end <= len(own)]
        if not reached:
            return False
        end, sign = reached[-1], -1.0 if is_higher_better else 1.0
        best = _best(own[:end], sign)
        far = [other[:end] for other in others if len(other) >= end]
        ranks = sorted([best, *(_best(other, sign) for other in far)])
        return best > ranks[min(len(ranks) - 1, int(len(ranks) / self.eta))]


def _best(history: Sequence[float], sign: float) -> float:
    """Return the lowest value; one that is no number is worse than all."""
    return min(math.inf if math.isnan(value) else sign * value for value in history)


def read_bands(block: Any, faults: list[str]) -> Bands | None:  # noqa: ANN401 - from YAML
    """Return the bands of ``early_terminate``; what is wrong goes to `faults`."""
    if block is None:
        return None
    if not isinstance(block, dict) or block.get("type") != "hyperband":
        found = block.get("type") if isinstance(block, dict) else block
        faults.append(f"early_terminate is {found!r}; wandb knows {{type: hyperband, min_iter: 3}}")
        return None
    wrong = [
        f"early_terminate has an unknown key {key!r}{nearest(str(key), _KEYS)}"
        for key in block
        if key not in _KEYS
    ]
    eta = block.get("eta", 3)
    counts = {key: block[key] for key in ("min_iter", "max_iter", "s") if key in block}
    wrong += [
        f"early_terminate.{key} is {count!r}; give a number of 1 or more"
        for key, count in counts.items()
        if not (isinstance(count, int) and count > 0)
    ]
    if not (isinstance(eta, (int, float)) and eta > 1):
        wrong.append(f"early_terminate.eta is {eta!r}; give a number above 1")
    if set(counts) not in ({"min_iter"}, {"max_iter", "s"}):
        wrong.append("early_terminate needs min_iter, or max_iter with s, and not both")
    faults += wrong
    return None if wrong else Bands(_ends(counts, float(eta)), eta, bool(block.get("strict")))


def _ends(counts: dict[str, int], eta: float) -> tuple[int, ...]:
    """Source: wandb's documentation of ``early_terminate``, with its examples."""
    if "min_iter" in counts:
        powers = range(int(math.log(_LONGEST / counts["min_iter"], eta)) + 1)
        ends = [int(counts["min_iter"] * eta**power) for power in powers]
    else:
        ends = [int(counts["max_iter"] / eta**power) for power in range(1, counts["s"] + 1)]
    return tuple(sorted({end for end in ends if end}))
