"""Which studies an epoch visits, and in what order; a pure function of seed and epoch."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.randomness import host_generator

Order = NDArray[np.intp]


@dataclass(frozen=True)
class DatasetShares:
    """How many visits of an epoch go to each data set.

    Attributes:
        dataset_of: Number of the data set of each study.
        shares: Share of each data set in the visits; they sum to 1.
    """

    dataset_of: tuple[int, ...]
    shares: tuple[float, ...]


def dataset_shares(
    datasets: Sequence[str], temperature: float, weights: Mapping[str, float] | None = None
) -> DatasetShares | None:
    """Return the shares of data sets, proportional to ``weight * studies ** (1 / temperature)``.

    Args:
        datasets: Data set of each study.
        temperature: 1 visits each study equally often, a larger one favours small data sets, and
            infinity visits all data sets equally often.
        weights: Further factor by data set; 1 for those not named.

    Returns:
        The shares, or None if each study is visited equally often.

    Raises:
        ValueError: If a name, weight or temperature makes no sense.
    """
    counts = Counter(datasets)
    _check(counts, temperature, weights or {})
    if temperature == 1 and not weights:
        return None
    exponent = 0.0 if math.isinf(temperature) else 1.0 / temperature
    raw = [(weights or {}).get(name, 1.0) * count**exponent for name, count in counts.items()]
    number = {name: place for place, name in enumerate(counts)}
    total = sum(raw)
    return DatasetShares(
        tuple(number[name] for name in datasets), tuple(part / total for part in raw)
    )


def _check(counts: Mapping[str, int], temperature: float, weights: Mapping[str, float]) -> None:
    if not temperature > 0:
        raise ValueError(f"dataset_temperature is {temperature}; it must be above 0, .inf included")
    for name, weight in weights.items():
        if name not in counts:
            close = difflib.get_close_matches(name, counts, 2)
            question = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise ValueError(
                f"dataset_weights names {name!r}, which has no studies here{question} "
                f"(data sets: {', '.join(counts)})"
            )
        if not 0 <= weight < math.inf:
            raise ValueError(f"dataset_weights: {name!r} has weight {weight}; use 0 or more")
    if all(weights.get(name, 1.0) == 0 for name in counts):
        raise ValueError("dataset_weights leaves no data set; give one a weight above 0")


def even_order(num_studies: int, visits: int, seed: int, epoch: int) -> Order:
    """Visit each study `visits` times, in random order within each time."""
    rounds = [
        host_generator(seed, epoch, visit, "order").permutation(num_studies)
        for visit in range(visits)
    ]
    return np.concatenate(rounds)


def shared_order(shares: DatasetShares, total: int, seed: int, epoch: int) -> Order:
    """Draw `total` visits by the shares of data sets.

    Each data set is gone through in shuffled rounds that run on over the epochs, so all its studies
    have been visited equally often, up to one, at any time.
    """
    members = np.asarray(shares.dataset_of)
    parts = []
    for dataset, quota in enumerate(quotas(shares.shares, total)):
        studies = np.flatnonzero(members == dataset)
        parts.append(studies[_stretch(len(studies), epoch * quota, quota, seed, dataset)])
    visits = np.concatenate(parts)
    return visits[host_generator(seed, epoch, "order of data sets").permutation(len(visits))]


def quotas(shares: Sequence[float], total: int) -> list[int]:
    """Deal `total` visits by largest remainder; a share above 0 gets at least one if there is room.

    Source:
        Hamilton's method of apportionment.
    """
    exact = [share * total for share in shares]
    dealt = [max(int(part), 1 if part > 0 else 0) for part in exact]
    by_need = sorted(range(len(shares)), key=lambda place: dealt[place] - exact[place])
    while sum(dealt) < total:
        for place in by_need[: total - sum(dealt)]:
            dealt[place] += 1 if shares[place] > 0 else 0
    while sum(dealt) > total:
        spare = [place for place, count in enumerate(dealt) if count > 1] or range(len(dealt))
        dealt[max(spare, key=lambda place: dealt[place] - exact[place])] -= 1
    return dealt


def _stretch(num: int, first: int, length: int, seed: int, dataset: int) -> Order:
    """Return places ``first`` to ``first + length`` of an endless row of permutations."""
    if length == 0:
        return np.zeros(0, np.intp)
    rounds = range(first // num, (first + length - 1) // num + 1)
    row = np.concatenate(
        [host_generator(seed, dataset, number, "round").permutation(num) for number in rounds]
    )
    start = first - rounds[0] * num
    return row[start : start + length]
