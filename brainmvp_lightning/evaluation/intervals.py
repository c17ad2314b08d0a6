"""Intervals by the bootstrap over cases, and comparisons of two systems on the same cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wilcoxon

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Turns samples ``r n ...`` into values ``r``."""

NUM_RESAMPLES = 2000
_CHUNK = 1 << 20  # numbers drawn at once: 8 MiB


@dataclass(frozen=True)
class Interval:
    """An estimate with its uncertainty over cases.

    Attributes:
        estimate: Of the cases at hand; None without any.
        low: Lower end; None below two cases, which say nothing about the spread.
        high: Upper end.
        n: Cases that count.
        num_missing: Cases without a value (NaN), which do not count.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    num_missing: int = 0


@dataclass(frozen=True)
class PairedTest:
    """Two systems compared on the same cases.

    Attributes:
        difference: Mean of second minus first, with its paired bootstrap interval; its
            `num_missing` counts the cases that lack a value of either.
        p_value: Two-sided Wilcoxon signed-rank test; 1 if no case differs, None without cases.
        num_ties: Cases on which both are equal.
    """

    difference: Interval
    p_value: float | None
    num_ties: int


def mean(samples: Floats) -> Floats:
    """Average over the cases, ``r n -> r``."""
    values: Floats = samples.mean(axis=1)
    return values


def median(samples: Floats) -> Floats:
    """Median over the cases, ``r n -> r``."""
    values: Floats = np.median(samples, axis=1)
    return values


def bootstrap(
    values: ArrayLike,
    statistic: Statistic = mean,
    *,
    num: int = NUM_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
    strata: ArrayLike | None = None,
) -> Interval:
    """Estimate a statistic and its percentile bootstrap interval.

    Whole cases are drawn with replacement. The result depends on the arguments alone.

    Args:
        values: One number a case, ``n``, or several, ``n k``. A case with a NaN is left out and
            counted in `num_missing`.
        statistic: Of the cases; sees all samples of a chunk at once.
        num: Resamples.
        level: Probability of the interval.
        seed: Of the draws.
        strata: Group of each case, ``n``; resamples keep the size of each group, so that each
            class stays present.

    Raises:
        ValueError: If an option is out of range, or the statistic is undefined on a resample.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, section 13.3.
    """
    if not 0 < level < 1 or num < 1:
        raise ValueError(f"level {level} must lie between 0 and 1, and num {num} above 0")
    cases = np.asarray(values, np.float64)
    groups = np.zeros(len(cases), int) if strata is None else np.asarray(strata)
    if len(groups) != len(cases):
        raise ValueError(f"{len(groups)} strata for {len(cases)} cases; give each case one")
    complete = ~np.isnan(cases).any(axis=tuple(range(1, cases.ndim)))
    cases, groups = cases[complete], groups[complete]
    n, num_missing = len(cases), int(np.count_nonzero(~complete))
    if not n:
        return Interval(None, None, None, 0, num_missing)
    estimate = float(statistic(cases[None])[0])
    if n == 1:
        return Interval(estimate, None, None, 1, num_missing)
    replicates = [statistic(cases[chosen]) for chosen in _resamples(groups, num, seed, cases.size)]
    low, high = _ends(np.concatenate(replicates), level)
    return Interval(estimate, low, high, n, num_missing)


def paired_test(
    first: ArrayLike,
    second: ArrayLike,
    *,
    num: int = NUM_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> PairedTest:
    """Compare two systems by their values on the same cases, ``n`` each, in the same order.

    Cases on which they are equal are ranked, but have no sign (Pratt's rule).

    Raises:
        ValueError: If the numbers of cases differ.

    Source:
        Wilcoxon 1945; Pratt 1959.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(
            f"the systems have {one.shape} and {other.shape} values; give one of each for the "
            "same cases"
        )
    differences = other - one
    known = differences[~np.isnan(differences)]
    p_value: float | None = None
    if len(known):
        p_value = float(wilcoxon(known, zero_method="pratt").pvalue) if known.any() else 1.0
    return PairedTest(
        bootstrap(differences, num=num, level=level, seed=seed),
        p_value,
        int(np.count_nonzero(known == 0)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several comparisons, in their order.

    The chance of a single false discovery among them stays below the threshold that the corrected
    values are held against.

    Raises:
        ValueError: If one is no probability.

    Source:
        Holm 1979.
    """
    given = np.asarray(p_values, np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"{list(p_values)} are no p-values; each must lie in [0, 1]")
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(value) for value in corrected]


def _resamples(
    groups: NDArray[np.int64], num: int, seed: int, size: int
) -> Iterator[NDArray[np.int64]]:
    """Yield places of cases, ``r n``, in chunks that bound the memory."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    step = max(_CHUNK // size, 1)
    for start in range(0, num, step):
        rows = min(step, num - start)
        drawn = [places[rng.integers(len(places), size=(rows, len(places)))] for places in members]
        yield np.concatenate(drawn, axis=1)


def _ends(replicates: Floats, level: float) -> tuple[float, float]:
    if np.isnan(replicates).any():
        raise ValueError(
            "the statistic is undefined on some resamples; give strata that keep each class present"
        )
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
