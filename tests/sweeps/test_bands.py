"""Who is stopped early."""

import pytest

from brainmvp_lightning.sweeps.bands import Bands, read_bands


@pytest.mark.parametrize(
    ("block", "ends"),
    [
        ({"min_iter": 3}, (3, 9, 27, 81)),  # wandb's documentation
        ({"max_iter": 27, "s": 2}, (3, 9)),
        ({"min_iter": 2, "eta": 2}, (2, 4, 8, 16)),
    ],
)
def test_bands_are_those_of_wandbs_documentation(block: dict, ends: tuple[int, ...]) -> None:
    faults: list[str] = []
    bands = read_bands({"type": "hyperband", **block}, faults)
    assert bands is not None
    assert not faults
    assert bands.ends[: len(ends)] == ends


def test_the_best_third_goes_on() -> None:
    bands = Bands((2, 6), eta=3)
    others = [[0.5, 0.9], [0.4, 0.3], [0.9, 0.1], [0.99]]  # the last has not come as far
    for own, is_behind in (
        ([0.45, 0.0], True),
        ([0.55, 0.0], True),
        ([0.95, 0.0], False),
        ([0.0], False),
    ):
        assert bands.falls_behind(own, others, is_higher_better=True) == is_behind
    assert not bands.falls_behind([0.1, 0.1], others, is_higher_better=False)
    assert bands.falls_behind([0.45, 0.35], others, is_higher_better=False)
    assert not bands.falls_behind([0.1, 0.1], [], is_higher_better=True)


def test_the_trial_at_place_n_over_eta_goes_on_as_with_wandb() -> None:
    bands = Bands((1,), eta=2)
    others = [[4.0], [3.0], [1.0]]
    assert not bands.falls_behind([2.0], [[4.0], [3.0]], is_higher_better=False)
    assert not bands.falls_behind([3.0], others, is_higher_better=False)  # 1 3 [3] 4
    assert not bands.falls_behind([3.5], others, is_higher_better=False)  # 1 3 [3.5] 4
    assert bands.falls_behind([5.0], others, is_higher_better=False)  # 1 3 [4] 5


def test_what_is_no_number_is_worst() -> None:
    bands, nan = Bands((2,), eta=3), float("nan")
    others = [[nan, nan], [0.9, nan], [0.8, 0.7], [0.1, 0.1]]
    for is_higher_better in (True, False):
        assert bands.falls_behind([nan, nan], others, is_higher_better=is_higher_better)
    assert not bands.falls_behind([nan, 0.95], others, is_higher_better=True)
    assert bands.falls_behind([nan, 0.2], others, is_higher_better=True)
