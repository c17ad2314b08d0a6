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
    for own, is_behind in (([0.2, 0.0], True), ([0.95, 0.0], False), ([0.0], False)):
        assert bands.falls_behind(own, others, is_higher_better=True) == is_behind
    assert not bands.falls_behind([0.1, 0.1], others, is_higher_better=False)
    assert bands.falls_behind([0.45, 0.35], others, is_higher_better=False)
    assert not bands.falls_behind([0.1, 0.1], [], is_higher_better=True)
