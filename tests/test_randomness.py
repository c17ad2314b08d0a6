"""Counted randomness: repeats, depends on nothing else, and looks random."""

import math

import numpy as np
import pytest
import torch

from brainmvp_lightning.randomness import CountedRandom, _mix, host_generator, sample_key

GOLDEN = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
SAMPLE_KEY = 4141939757170682699  # changes what every run draws if it changes


def keys(num: int, start: int = 0) -> torch.Tensor:
    return torch.arange(start, start + num)


def reference_words(key: int, purpose: str, num: int) -> list[int]:
    """SplitMix64 in Python's own integers."""

    def mix(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
        return word ^ (word >> 31)

    stream = mix(key ^ sample_key(purpose))
    return [mix((stream + count * GOLDEN) & MASK) for count in range(1, num + 1)]


def chi_square_z(counts: np.ndarray) -> float:
    """Deviation of counts from equal ones, in standard deviations of a chi-square variable."""
    expected = counts.sum() / counts.size
    degrees = counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - degrees) / math.sqrt(2 * degrees)


def test_mixing_gives_the_published_words_of_splitmix64() -> None:
    states = 1234567 + torch.arange(1, 4) * (GOLDEN - 2**64)
    assert [word % 2**64 for word in _mix(states).tolist()] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize("key", [0, 1, 2**63 - 1, sample_key(7, "train")])
def test_draws_equal_the_definition_in_plain_integers(key: int) -> None:
    drawn = CountedRandom(torch.tensor([key])).uniform(100, "mask")[0]
    expected = [(word >> 40) / 2**24 for word in reference_words(key, "mask", 100)]
    assert drawn.tolist() == expected


def test_draws_are_repeatable_and_leave_the_global_state_alone() -> None:
    random = CountedRandom(keys(4))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, second = random.uniform(50, "a"), random.uniform(50, "a")
    assert torch.equal(first, second)
    assert torch.equal(torch.rand(3), expected)


def test_draws_depend_on_their_own_key_only() -> None:
    together = CountedRandom(keys(8)).uniform(20, "a")
    for row in range(8):
        assert torch.equal(CountedRandom(keys(1, row)).uniform(20, "a")[0], together[row])


def test_more_draws_begin_with_the_fewer() -> None:
    random = CountedRandom(keys(3))
    assert torch.equal(random.uniform(100, "a")[:, :10], random.uniform(10, "a"))


def test_draws_are_in_the_half_open_unit_interval() -> None:
    drawn = CountedRandom(keys(64)).uniform(16384, "range")
    assert 0 <= drawn.min() < 1e-5
    assert 1 - 1e-5 < drawn.max() < 1


@pytest.mark.parametrize(("num_keys", "num"), [(1, 2**20), (2**20, 1), (1024, 1024)])
def test_draws_are_uniform_along_counters_and_along_keys(num_keys: int, num: int) -> None:
    drawn = CountedRandom(keys(num_keys)).uniform(num, "uniform").flatten().numpy()
    counts = np.histogram(drawn, bins=256, range=(0, 1))[0]
    assert abs(chi_square_z(counts)) < 4
    assert abs(drawn.mean(dtype=np.float64) - 0.5) < 4 * math.sqrt(1 / 12 / 2**20)


@pytest.mark.parametrize("bit", range(24))
def test_every_bit_is_set_half_of_the_time(bit: int) -> None:
    drawn = CountedRandom(keys(256)).uniform(1024, "bits")
    share = ((drawn * 2**24).long() >> bit & 1).double().mean().item()
    assert abs(share - 0.5) < 4.5 * 0.5 / 512


@pytest.mark.parametrize("pair", ["next counter", "next key", "other purpose"])
def test_neighbours_are_independent(pair: str) -> None:
    random = CountedRandom(keys(513))
    first = random.uniform(513, "first")
    second = {
        "next counter": first[:, 1:],
        "next key": first[1:],
        "other purpose": random.uniform(513, "second"),
    }[pair]
    first = first[: len(second), : second.shape[1]]
    joint, _, _ = np.histogram2d(
        first.flatten().numpy(), second.flatten().numpy(), bins=16, range=[(0, 1), (0, 1)]
    )
    assert abs(chi_square_z(joint)) < 4
    correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(first.numel())


def test_integers_are_uniform_and_below_their_bound() -> None:
    drawn = CountedRandom(keys(96)).integers(9600, 96, "place")
    assert drawn.dtype == torch.int64
    assert abs(chi_square_z(np.bincount(drawn.flatten().numpy(), minlength=96))) < 4
    assert (drawn.min(), drawn.max()) == (0, 95)


def test_integers_take_a_bound_for_each_sample() -> None:
    drawn = CountedRandom(keys(2)).integers(1000, torch.tensor([[2], [50]]), "place")
    assert drawn.amax(dim=1).tolist() == [1, 49]


def test_keys_stay_the_same_between_versions() -> None:
    assert sample_key(0, 1, 2, "train") == SAMPLE_KEY


def test_keys_differ_and_are_not_negative() -> None:
    made = {sample_key(seed, index, "x") for seed in range(10) for index in range(1000)}
    assert len(made) == 10_000
    assert all(0 <= key < 2**63 for key in made)
    assert sample_key(1, 23) != sample_key(12, 3)
    assert sample_key(1) != sample_key("1")


def test_host_generators_repeat_and_differ_by_key() -> None:
    first = host_generator(0, "a").integers(0, 2**32, 8)
    assert (first == host_generator(0, "a").integers(0, 2**32, 8)).all()
    assert (first != host_generator(0, "b").integers(0, 2**32, 8)).any()
