"""Which study, modality, partner and place a sample uses: pure functions of counted randomness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler

from brainmvp_lightning.batches import Size
from brainmvp_lightning.datamodules.ordering import (
    DatasetShares,
    Order,
    even_order,
    shared_order,
)
from brainmvp_lightning.randomness import host_generator, sample_key


@dataclass(frozen=True)
class SampleRequest:
    """One visit to a study, as the sampler asks the data set for it.

    Attributes:
        study: Position of the study in the data set.
        key: Key of the counted randomness of this visit.
        batch_key: The same key for all samples of a step, over all ranks.
        weight: 1 for a visit that counts; 0 where it only pads the uneven end of an epoch. At that
            end it is above 1, so that the mean over a step's places is the mean over its studies.
        num_studies: Visits of this step that count, over all ranks.
    """

    study: int
    key: int
    batch_key: int
    weight: float
    num_studies: int


class Journey(Protocol):
    """What a sampler must know of the training it serves."""

    epoch: int
    place: int

    def begin_epoch(self) -> None:
        """Go to the next epoch if the present one was left before its end."""


class StudySampler(Sampler[list[SampleRequest]]):
    """Batches of visits, disjoint over ranks: each study `visits` times an epoch in all.

    Step ``s`` takes the places ``s * world * batch`` and following of one order that all ranks
    share, rank ``r`` the ``r``-th part of them. So two ranks with batch b see what one process with
    batch 2b sees. The order depends on (seed, epoch) alone, a visit on (seed, epoch, place), so a
    run may go on from any place with another batch size or number of ranks.

    Args:
        num_studies: Studies in the data set.
        batch_size: Studies in a batch of one rank.
        seed: Seed of the run.
        visits: Visits to each study in an epoch.
        rank: Number of this process.
        world_size: Number of processes.
        purpose: ``"train"`` draws a new order and new visits each epoch, any other purpose keeps
            the order and repeats the visits of epoch 0.
        shares: Shares of data sets in the visits of a training epoch; None visits each study
            equally often.

    Raises:
        ValueError: If there is no study, or the batch size or the visits are not positive.
    """

    def __init__(
        self,
        num_studies: int,
        *,
        batch_size: int,
        seed: int,
        visits: int = 1,
        rank: int = 0,
        world_size: int = 1,
        purpose: str = "train",
        shares: DatasetShares | None = None,
    ) -> None:
        if num_studies < 1 or batch_size < 1 or visits < 1:
            raise ValueError(
                f"nothing to sample for {purpose!r}: {num_studies} studies, batch size "
                f"{batch_size}, {visits} visits; each must be at least 1"
            )
        self.num_studies = num_studies
        self.batch_size = batch_size
        self.seed = seed
        self.visits = visits
        self.rank = rank
        self.world_size = world_size
        self.purpose = purpose
        self.shares = shares
        self.epoch = 0
        self.first_place = 0
        self.journey: Journey | None = None

    def __len__(self) -> int:
        """Return the number of batches of an epoch, which is the same on all ranks."""
        return -(-self.num_places // self.places_per_step)

    @property
    def num_places(self) -> int:
        """Visits of an epoch, over all ranks."""
        return self.num_studies * self.visits

    @property
    def places_per_step(self) -> int:
        """Visits of a step, over all ranks."""
        return self.batch_size * self.world_size

    @property
    def sampler(self) -> StudySampler:
        """Itself: trainers announce epochs to the sampler *of* a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`, unless it is the one that `start_at` has gone into.

        On a journey the announcement counts, not its number: trainers miscount resumed epochs.
        """
        if self.journey is not None:
            self.journey.begin_epoch()
            self.start_at(self.journey.epoch, self.journey.place)
        elif epoch != self.epoch:
            self.epoch = epoch
            self.first_place = 0

    def start_at(self, epoch: int, place: int) -> None:
        """Make the next iteration begin with the given place of the order of the given epoch."""
        self.epoch = epoch
        self.first_place = place

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        epoch = self.epoch if self.purpose == "train" else 0
        order = self._order(epoch)
        for place in range(self.first_place, len(order), self.places_per_step):
            yield self._batch(order, epoch, place)

    def _order(self, epoch: int) -> Order:
        if self.purpose != "train":
            return np.tile(np.arange(self.num_studies), self.visits)
        if self.shares is None:
            return even_order(self.num_studies, self.visits, self.seed, epoch)
        return shared_order(self.shares, self.num_places, self.seed, epoch)

    def _batch(self, order: Order, epoch: int, first: int) -> list[SampleRequest]:
        count = min(self.places_per_step, len(order) - first)
        batch_key = sample_key(self.seed, self.purpose, epoch, first, "batch")
        start = first + self.rank * self.batch_size
        return [
            SampleRequest(
                study=int(order[place % len(order)]),
                key=sample_key(self.seed, self.purpose, epoch, place),
                batch_key=batch_key,
                weight=self.places_per_step / count if place < len(order) else 0.0,
                num_studies=count,
            )
            for place in range(start, start + self.batch_size)
        ]


@dataclass(frozen=True)
class Visit:
    """What is read at a visit: positions in a study's scans, and the first voxel of the crop."""

    targets: tuple[int, ...]
    partners: tuple[tuple[int, ...], ...]
    """For each target the other scans, the first choice first."""
    start: Size


def draw_visit(
    request: SampleRequest,
    num_scans: int,
    shape: Sequence[int],
    size: Size,
    *,
    all_modalities: bool = False,
    shared_modality: bool = False,
    series: int | None = None,
    scan_weights: Sequence[float] | None = None,
) -> Visit:
    """Draw targets, partners and place of a visit.

    Args:
        request: The visit.
        num_scans: Scans of the study, each of another modality.
        shape: Voxels of the study's grid.
        size: Voxels of the crop; where the study is smaller, the crop is centred on it.
        all_modalities: Whether each scan is a target; otherwise one is drawn, and the others
            follow as second choices.
        shared_modality: Whether the number of the target scan is drawn once for all samples of a
            step (published code).
        series: Force each study to this many scans by leaving out or repeating (published code).
        scan_weights: Relative probability of each scan to be the target, ``num_scans``; one of
            weight 0 is not used at all. None draws evenly.

    Raises:
        ValueError: If no scan has a weight above 0.

    Source:
        BrainMVP, section 3.1 (target and partner from one study, same place) and equation 6; the
        published code for the last two options.
    """
    generator = host_generator(request.key, "visit")
    usable = [scan for scan in range(num_scans) if scan_weights is None or scan_weights[scan] > 0]
    if not usable:
        raise ValueError(f"study {request.study} has no scan that may be used; leave it out")
    pool = _pool(generator, usable, series)
    start = tuple(_start(generator, int(n), k) for n, k in zip(shape, size, strict=True))
    if shared_modality:
        first = int(host_generator(request.batch_key, "modality").integers(len(pool)))
    else:
        first = _first(generator, pool, scan_weights)
    order = usable if all_modalities else _rotate(pool, first)
    partners = []
    for target in order:
        others = [scan for scan in usable if scan != target and scan in pool]
        partners.append(tuple(int(scan) for scan in generator.permutation(others)))
    return Visit(tuple(order), tuple(partners), (start[0], start[1], start[2]))


def _pool(generator: np.random.Generator, usable: Sequence[int], series: int | None) -> list[int]:
    if series is None:
        return list(usable)
    shuffled = [int(scan) for scan in generator.permutation(np.asarray(usable))]
    return [shuffled[place % len(shuffled)] for place in range(series)]


def _first(
    generator: np.random.Generator, pool: Sequence[int], weights: Sequence[float] | None
) -> int:
    if weights is None:
        return int(generator.integers(len(pool)))
    shares = np.asarray([weights[scan] for scan in pool], np.float64)
    return int(generator.choice(len(pool), p=shares / shares.sum()))


def _rotate(pool: list[int], first: int) -> list[int]:
    """Return the distinct scans of `pool`, beginning with the one at place `first`."""
    return list(dict.fromkeys(pool[first:] + pool[:first]))


def _start(generator: np.random.Generator, length: int, size: int) -> int:
    place = int(generator.integers(0, max(0, length - size) + 1))
    return place if length > size else -((size - length) // 2)
