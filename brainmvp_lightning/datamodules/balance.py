"""Which modalities take part, and how often each is the target."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.cache import CachedStudy
from brainmvp_lightning.volumes.index import StudyIndex, StudySelection


def check_modalities(wanted: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """Return the modalities that may be used: those asked for, or all.

    Raises:
        ValueError: If the cache knows no such modality; the message lists the nearest names.
    """
    if wanted is None:
        return tuple(known)
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, 2, 0.4)
            question = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise ValueError(
                f"data.modalities names {name!r}, which the cache does not know{question} "
                f"(known: {', '.join(known)})"
            )
    if not wanted:
        raise ValueError("data.modalities is empty; name at least one, or leave it out for all")
    return tuple(name for name in known if name in wanted)


def count_modalities(studies: StudyIndex, names: Sequence[str]) -> NDArray[np.int64]:
    """Return how many of the named modalities each study has."""
    has = [studies.has_modality(name) for name in names]
    counts: NDArray[np.int64] = np.sum(has, axis=0, dtype=np.int64)
    return counts


def modality_weights(
    studies: StudySelection, names: Sequence[str], balance: float
) -> dict[str, float]:
    """Return the weight of each modality to be the target: its number of scans to ``-balance``.

    Args:
        studies: Studies that count.
        names: Modalities that may be used.
        balance: 0 draws the target evenly from the scans of a study, 1 makes rare modalities
            likelier to the degree that they are rare.
    """
    counts = {name: int(studies.whole.has_modality(name)[studies.places].sum()) for name in names}
    return {name: max(1, count) ** -balance for name, count in counts.items()}


def scan_weights(study: CachedStudy, weights: Mapping[str, float]) -> list[float]:
    """Return the weight of each scan of a study; 0 for modalities that are not to be used."""
    return [weights.get(scan.modality, 0.0) for scan in study.scans]
