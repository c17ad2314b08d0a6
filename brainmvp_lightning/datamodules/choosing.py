"""Which studies of a cache take part, and which of their modalities are the channels."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.studies.splits import SPLITS, check_fraction, labelled_patients
from brainmvp_lightning.volumes.cache import Cache
from brainmvp_lightning.volumes.index import StudyIndex, StudySelection

Places = NDArray[np.int64]
FindFaults = Callable[[StudyIndex, Places], list[str]]
"""Returns for each of some studies what it lacks, in words that follow "they have"; or nothing."""


@dataclass(frozen=True)
class StudyChoice:
    """What the user asks for.

    Attributes:
        datasets: Data sets to use; None for all.
        modalities: Channels in order; None for all that the training studies have.
        min_modalities: Studies with fewer of these modalities are left out.
        label_fraction: Share of the training patients that is used.
        label_seed: Another seed uses others.
    """

    datasets: Sequence[str] | None = None
    modalities: Sequence[str] | None = None
    min_modalities: int = 1
    label_fraction: float = 1.0
    label_seed: int = 0

    def __post_init__(self) -> None:
        check_fraction(self.label_fraction)
        if self.modalities is not None and len({*self.modalities}) < max(1, len(self.modalities)):
            raise ValueError(
                f"data.modalities must name each channel once, got {list(self.modalities)}"
            )
        if self.min_modalities < 1:
            raise ValueError(f"data.min_modalities is {self.min_modalities}; use at least 1")


class Candidates:
    """The studies of the chosen data sets, and what some of them lack.

    Args:
        cache: What is there.
        choice: What is asked for.
        find_faults: Tells what studies lack.

    Raises:
        ValueError: If the cache has no such data set.
    """

    def __init__(self, cache: Cache, choice: StudyChoice, find_faults: FindFaults) -> None:
        self.cache = cache
        self.choice = choice
        self.places = places_of(cache.studies, choice)
        self.faults = np.array(find_faults(cache.studies, self.places), np.object_)

    def usable(self) -> StudySelection:
        """Return those that lack nothing, of all splits."""
        return StudySelection(self.cache.studies, self.places[self.faults == ""])

    def modalities(self) -> tuple[str, ...]:
        """Return the channels: those asked for, or all of the training studies.

        Label fraction and damaged files change nothing about them. A cache without training
        studies gives those of all its studies.

        Raises:
            ValueError: If the cache knows no such modality, or no study can take part.
        """
        cache = self.cache
        if self.choice.modalities is not None:
            for name in self.choice.modalities:
                _check_name(name, cache.modalities, "modality", "data.modalities")
            return tuple(self.choice.modalities)
        usable = self.usable().places
        if not len(usable):
            raise self._nothing("studies", self.faults)
        training = usable[cache.studies.column("split")[usable] == "train"]
        among = training if len(training) else usable
        names = (n for n in cache.modalities if cache.studies.has_modality(n)[among].any())
        return tuple(names)

    def choose(self, split: str, modalities: Sequence[str]) -> StudySelection:
        """Return the studies of a split that can take part; a warning counts the others.

        Args:
            split: ``train``, ``val``, ``test``, or ``all``.
            modalities: Channels.

        Raises:
            ValueError: If none is left.
        """
        members = self._members(split)
        places = self.places[members]
        faults = self.faults[members]
        faults[(faults == "") & self._has_too_few(places, modalities)] = (
            f"fewer than {self.choice.min_modalities} of the modalities {', '.join(modalities)}"
        )
        if not (faults == "").any():
            raise self._nothing("studies" if split == "all" else f"{split} studies", faults)
        for fault, count in Counter(faults[faults != ""]).items():
            example = self.cache.studies.column("id")[places[faults == fault][0]]
            kind = "" if split == "all" else f"{split} "
            warnings.warn(
                f"{count} of {len(places)} {kind}studies are left out, because they have "
                f"{fault} (such as {example})",
                stacklevel=2,
            )
        return StudySelection(self.cache.studies, places[faults == ""])

    def _members(self, split: str) -> NDArray[np.bool_]:
        if split not in (*SPLITS, "all"):
            raise ValueError(f"unknown split {split!r}; use train, val, test or all")
        studies, choice = self.cache.studies, self.choice
        splits = studies.column("split")[self.places]
        members = np.asarray((splits == split) | (split == "all"), np.bool_)
        if split == "train" and choice.label_fraction < 1:
            datasets = studies.column("dataset")[self.places].tolist()
            patients = [
                *zip(datasets, studies.column("patient")[self.places].tolist(), strict=True)
            ]
            usable = [patients[n] for n in np.flatnonzero(members & (self.faults == ""))]
            kept = labelled_patients(usable, choice.label_fraction, choice.label_seed)
            members &= np.array([patient in kept for patient in patients], np.bool_)
        return members

    def _has_too_few(self, places: Places, modalities: Sequence[str]) -> NDArray[np.bool_]:
        stored = [self.cache.studies.has_modality(name)[places] for name in modalities]
        return np.asarray(np.sum(stored, axis=0) < self.choice.min_modalities, np.bool_)

    def _nothing(self, kind: str, faults: Iterable[str]) -> ValueError:
        cache, why = self.cache.path, "; or ".join(sorted({*faults}))
        if why:
            return ValueError(f"cache {cache} has no {kind} that can be used: they have {why}")
        return ValueError(f"cache {cache} has no {kind} of the chosen data sets")


def places_of(studies: StudyIndex, choice: StudyChoice) -> Places:
    """Return the places of the studies of the chosen data sets.

    Raises:
        ValueError: If the cache has no such data set.
    """
    datasets = studies.column("dataset")
    if choice.datasets is None:
        return np.arange(len(studies))
    for name in choice.datasets:
        _check_name(name, sorted({*datasets.tolist()}), "data set", "data.datasets")
    return np.flatnonzero(np.isin(datasets, list(choice.datasets)))


def _check_name(name: str, known: Sequence[str], kind: str, option: str) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, 2)
    question = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise ValueError(
        f"{option} names {name!r}, but the cache has no such {kind}{question} "
        f"(known: {', '.join(known)})"
    )
