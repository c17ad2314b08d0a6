import math
from collections import Counter

import pytest

from brainmvp_lightning.datamodules.ordering import dataset_shares, quotas, shared_order

DATASETS = ["a"] * 900 + ["b"] * 90 + ["c"] * 10


def test_temperature_one_is_no_weighting() -> None:
    assert dataset_shares(DATASETS, 1.0) is None


def test_temperature_two_takes_square_roots() -> None:
    shares = dataset_shares(["a"] * 16 + ["b"] * 4, 2.0)
    assert shares is not None
    assert shares.shares == pytest.approx((4 / 6, 2 / 6))


def test_infinite_temperature_shares_evenly_and_weights_multiply() -> None:
    even = dataset_shares(DATASETS, math.inf)
    assert even is not None
    assert even.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    weighted = dataset_shares(DATASETS, math.inf, {"c": 2.0})
    assert weighted is not None
    assert weighted.shares == pytest.approx((0.25, 0.25, 0.5))


@pytest.mark.parametrize(
    ("temperature", "weights", "match"),
    [
        (0.0, {}, "above 0"),
        (1.0, {"brats": 1.0}, "data sets: a, b, c"),
        (1.0, {"a": -1.0}, "0 or more"),
        (1.0, {"a": 0, "b": 0, "c": 0}, "leaves no data set"),
    ],
)
def test_senseless_weights_are_refused(
    temperature: float, weights: dict[str, float], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        dataset_shares(DATASETS, temperature, weights)


def test_quotas_sum_up_and_every_share_gets_a_visit() -> None:
    assert quotas((0.5, 0.3, 0.2), 10) == [5, 3, 2]
    assert quotas((0.989, 0.01, 0.001), 10) == [8, 1, 1]
    assert quotas((0.5, 0.5, 0.0), 3) in ([2, 1, 0], [1, 2, 0])


def test_order_is_a_pure_function_of_seed_and_epoch() -> None:
    shares = dataset_shares(DATASETS, 2.0)
    assert shares is not None
    first = shared_order(shares, 500, seed=1, epoch=3)
    assert first.tolist() == shared_order(shares, 500, seed=1, epoch=3).tolist()
    assert first.tolist() != shared_order(shares, 500, seed=1, epoch=4).tolist()
    assert max(Counter(first[first < 900].tolist()).values()) == 1
