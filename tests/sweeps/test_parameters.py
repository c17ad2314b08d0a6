"""Each distribution, as numbers that can be worked out by hand."""

import math

import pytest

from brainmvp_lightning.sweeps.parameters import Parameter


@pytest.mark.parametrize(
    ("distribution", "options", "place", "value"),
    [
        ("constant", {"values": ("a",)}, 0.9, "a"),
        ("categorical", {"values": (1, 2, 3)}, 0.5, 2),
        ("categorical", {"values": ("a", "b"), "weights": (0.9, 0.1)}, 0.89, "a"),
        ("categorical", {"values": ("a", "b"), "weights": (0.9, 0.1)}, 0.91, "b"),
        ("int_uniform", {"low": 1, "high": 4}, 0.49, 2),
        ("int_uniform", {"low": 1, "high": 4}, 0.999, 4),
        ("uniform", {"low": -1.0, "high": 3.0}, 0.25, 0.0),
        ("q_uniform", {"low": 0.0, "high": 1.0, "q": 0.1}, 0.28, 0.3),
        ("q_uniform", {"low": 0, "high": 100, "q": 16}, 0.5, 48),
        ("log_uniform", {"low": 0.0, "high": 2.0}, 0.5, math.e),
        ("log_uniform_values", {"low": 1e-4, "high": 1e-2}, 0.5, 1e-3),
        ("q_log_uniform_values", {"low": 1.0, "high": 10000.0, "q": 10}, 0.5, 100),
        ("inv_log_uniform", {"low": 1.0, "high": 3.0}, 0.0, math.exp(-3)),
        ("inv_log_uniform_values", {"low": 1e-4, "high": 1e-2}, 0.5, 1e-3),
        ("normal", {"mu": 2.0, "sigma": 3.0}, 0.5, 2.0),
        ("normal", {"mu": 0.0, "sigma": 1.0}, 0.975, 1.959964),
        ("q_normal", {"mu": 2.2, "sigma": 3.0, "q": 1}, 0.5, 2),
        ("log_normal", {"mu": 1.0, "sigma": 3.0}, 0.5, math.e),
    ],
)
def test_a_place_in_the_unit_interval_is_this_value(
    distribution: str, options: dict, place: float, value: object
) -> None:
    drawn = Parameter("option", distribution, **options).at(place)
    assert drawn == (pytest.approx(value) if isinstance(value, float) else value)
    assert isinstance(drawn, type(value))


def test_a_grid_goes_through_whole_numbers_and_multiples() -> None:
    assert Parameter("a", "int_uniform", low=2, high=4).all_values() == (2, 3, 4)
    steps = Parameter("a", "q_uniform", low=0.1, high=0.35, q=0.1)
    assert steps.all_values() == (0.1, 0.2, 0.3)
    # As numpy.arange, which wandb takes: from the lower bound on, without the upper one.
    for low, high, q, values in (
        (0.0, 0.3, 0.1, (0.0, 0.1, 0.2)),
        (0.25, 1.0, 0.5, (0.25, 0.75)),
        (0.1, 0.4, 1, (0.1,)),
        (2, 8, 2, (2, 4, 6)),
    ):
        found = Parameter("a", "q_uniform", low=low, high=high, q=q).all_values()
        assert found == values
        assert all(map(isinstance, found, map(type, values)))
    with pytest.raises(ValueError, match="a is uniform, which a grid cannot go through"):
        Parameter("a", "uniform").all_values()


def test_a_parser_is_given_the_bounds_themselves() -> None:
    tries = list(Parameter("a", "log_uniform_values", low=1e-5, high=3e-3).tries())
    assert (tries[0], tries[-1]) == (1e-5, 3e-3)
    assert len(tries) == 3
