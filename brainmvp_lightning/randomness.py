"""Randomness that is counted: a pure function of a key, never of global state.

A key is a 63-bit integer made from (seed, epoch, index, purpose). Draws on the host use a NumPy
generator seeded by the key; draws on the device hash (key, purpose, counter) with integer
arithmetic that gives the same bits on a CPU and on a GPU, for a whole batch at once and without
synchronisation. Hence a run repeats, resumes in the middle of an epoch, and does not depend on the
number of workers or ranks.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

# Odd 64-bit multipliers of the SplitMix64 finaliser, as signed integers.
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


def sample_key(*parts: int | str) -> int:
    """Return a key in [0, 2^63) for the given parts, such as seed, epoch, index and purpose."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def host_generator(*parts: int | str) -> np.random.Generator:
    """Return a NumPy generator that depends on `parts` alone."""
    return np.random.Generator(np.random.Philox(key=sample_key(*parts)))


class CountedRandom:
    """Independent random streams for the samples of a batch.

    Args:
        keys: One key per sample, ``b``, int64, on the device where draws are wanted.
    """

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys

    def uniform(self, num: int, purpose: str) -> Tensor:
        """Draw ``b num`` float32 values in [0, 1).

        Args:
            num: Draws per sample.
            purpose: Names the stream; the same key and purpose always give the same values.
        """
        stream = _mix(self.keys ^ sample_key(purpose))[:, None]  # b 1
        counter = torch.arange(1, num + 1, device=self.keys.device) * _GOLDEN  # num
        bits = _mix(stream + counter)  # b num
        # The top 24 bits of the word: as many as a float32 in [0, 1) can hold exactly.
        return ((bits >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24

    def integers(self, num: int, high: Tensor | int, purpose: str) -> Tensor:
        """Draw ``b num`` int64 values in [0, high)."""
        return (self.uniform(num, purpose).double() * high).long()


def _mix(word: Tensor) -> Tensor:
    """Apply the SplitMix64 finaliser to int64 words (Steele et al. 2014, section 5)."""
    word = (word ^ _logical_shift(word, 30)) * _FIRST
    word = (word ^ _logical_shift(word, 27)) * _SECOND
    return word ^ _logical_shift(word, 31)


def _logical_shift(word: Tensor, bits: int) -> Tensor:
    return (word >> bits) & ((1 << (64 - bits)) - 1)
