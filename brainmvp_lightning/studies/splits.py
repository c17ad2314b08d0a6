"""Which patients train, validate and test; decided by a hash, so it never changes by accident."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

SPLITS = ("train", "val", "test")
_SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_of(dataset: str, patient: str, ratios: Sequence[float] = (6, 1, 3), seed: int = 0) -> str:
    """Return the split of a patient: ``train``, ``val`` or ``test``.

    It depends on nothing but the arguments, so adding patients moves nobody, and all visits of a
    patient share it. The shares hold on average, not exactly.

    Args:
        dataset: Data set of the patient.
        patient: Name within the data set.
        ratios: Relative size of train, val and test.
        seed: Another seed deals the patients anew.

    Raises:
        ValueError: If the ratios are not three numbers of at least 0 with a sum above 0.

    Source:
        BrainMVP, supplement B: 6 : 1 : 3 by patient.
    """
    check_ratios(ratios)
    position = _position(str(seed), dataset, patient) * sum(ratios)
    if position < ratios[0]:
        return "train"
    return "val" if position < ratios[0] + ratios[1] else "test"


def labelled_patients(
    patients: Iterable[tuple[str, str]], fraction: float, seed: int = 0
) -> set[tuple[str, str]]:
    """Return the training patients that keep their label when only some are used.

    They are the first of an order that depends on the names and the seed alone, so those of one
    fraction are among those of every larger one. Their number is exact, rounded up.

    Args:
        patients: Data set of each training patient, and its name there.
        fraction: Share of them, above 0 and at most 1.
        seed: Another seed chooses others.

    Raises:
        ValueError: If the fraction is out of range.

    Source:
        BrainMVP, label efficiency: 20, 40, 60, 80 and 100 % of the training cases.
    """
    check_fraction(fraction)
    ordered = sorted(set(patients), key=lambda patient: _position("label", str(seed), *patient))
    return set(ordered[: math.ceil(round(fraction * len(ordered), 6))])


def check_fraction(fraction: float) -> None:
    """Raise a `ValueError` unless `fraction` is a share of the labels."""
    if not 0 < fraction <= 1:
        raise ValueError(
            f"label_fraction is {fraction}; it is a share above 0 and at most 1, such as 0.2"
        )


def _position(*parts: str) -> float:
    """Return an even number in [0, 1) that depends on `parts` alone."""
    key = "\0".join(parts).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


def check_ratios(ratios: Sequence[float]) -> None:
    """Check the shares of train, val and test.

    Raises:
        ValueError: If they are not three numbers of at least 0 with a sum above 0.
    """
    if len(ratios) != 3 or min(ratios) < 0 or sum(ratios) <= 0:
        raise ValueError(
            f"split_ratios must be three numbers for train, val, test such as [6, 1, 3], "
            f"at least one above 0; got {list(ratios)}"
        )


def parse_split(text: str) -> str:
    """Return the canonical name of a split.

    Raises:
        ValueError: If it is none.
    """
    name = _SPELLINGS.get(text.strip().casefold())
    if name is None:
        raise ValueError(f"unknown split {text!r}; use train, val or test")
    return name
