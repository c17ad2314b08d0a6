"""Bootstrap intervals cover, pairs are compared, several comparisons are corrected."""

import numpy as np
import pytest
from scipy.stats import norm

from brainmvp_lightning.evaluation import intervals
from brainmvp_lightning.evaluation.intervals import (
    Interval,
    bootstrap,
    holm,
    mean,
    median,
    paired_test,
)

NAN = float("nan")


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    half = norm.ppf(0.95) * values.std() / 20
    interval = bootstrap(values, num=4000, level=0.9)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(5, 1, (300, 40))
    ends = [bootstrap(sample, num=200, level=0.9, seed=seed) for seed, sample in enumerate(samples)]
    covered = np.mean([one.low <= 5 <= one.high for one in ends if one.low and one.high])
    assert 0.84 < covered < 0.95  # 0.9 less the known optimism at 40 cases, +- 3 standard errors


def test_the_same_arguments_give_the_same_interval_and_another_seed_another() -> None:
    values = np.arange(10.0)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    assert bootstrap(values, seed=3) != bootstrap(values, seed=4)


def test_memory_is_bounded_by_chunks_of_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(samples: np.ndarray) -> np.ndarray:
        seen.append(samples.size)
        return mean(samples)

    monkeypatch.setattr(intervals, "_CHUNK", 1000)
    bootstrap(np.arange(100.0), watched, num=95)
    assert max(seen) == 1000
    assert sum(seen) == 100 + 95 * 100


def test_missing_values_are_counted_not_lost() -> None:
    interval = bootstrap([1.0, NAN, 3.0, NAN, NAN])
    assert (interval.estimate, interval.n, interval.num_missing) == (2.0, 2, 3)


def test_no_case_has_no_estimate_and_one_case_no_spread() -> None:
    assert bootstrap([NAN]) == Interval(None, None, None, 0, 1)
    assert bootstrap([]) == Interval(None, None, None, 0, 0)
    assert bootstrap([0.7]) == Interval(0.7, None, None, 1, 0)


def test_equal_cases_have_an_interval_without_width() -> None:
    assert bootstrap([0.5] * 4, median) == Interval(0.5, 0.5, 0.5, 4)


def test_strata_keep_their_sizes_in_every_resample() -> None:
    groups = np.array([0, 1, 1, 0, 1])

    def share(samples: np.ndarray) -> np.ndarray:
        np.testing.assert_array_equal(samples.sum(axis=1), 3)
        return mean(samples)

    assert bootstrap(groups, share, strata=groups) == Interval(0.6, 0.6, 0.6, 5)


def test_an_undefined_resample_is_an_error_not_a_wrong_interval() -> None:
    def undefined(samples: np.ndarray) -> np.ndarray:
        return np.where(samples.max(axis=1) > 0, samples.mean(axis=1), NAN)

    with pytest.raises(ValueError, match="strata"):
        bootstrap([0.0, 0.0, 1.0], undefined)


@pytest.mark.parametrize("options", [{"level": 1.0}, {"num": 0}, {"strata": [1]}])
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=r"level|strata"):
        bootstrap([1.0, 2.0], **options)


def test_a_gain_on_every_case_is_found() -> None:
    first = np.arange(8.0)
    test = paired_test(first, first + np.arange(1, 9) / 10)
    assert test.difference.estimate == pytest.approx(0.45)
    assert test.difference.low is not None
    assert test.difference.low > 0
    assert test.p_value == pytest.approx(2 / 2**8)  # one of 256 sign patterns, two-sided
    assert test.num_ties == 0


def test_pairs_without_both_values_are_counted() -> None:
    test = paired_test([0.0, NAN, 0.5, 0.2], [1.0, 1.0, NAN, 0.2])
    assert (test.difference.n, test.difference.num_missing, test.num_ties) == (2, 2, 1)


def test_equal_systems_do_not_differ() -> None:
    test = paired_test([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (test.p_value, test.num_ties) == (1.0, 3)
    assert test.difference == Interval(0.0, 0.0, 0.0, 3)
    assert paired_test([NAN], [1.0]).p_value is None


def test_ties_take_the_lowest_ranks_and_have_no_sign() -> None:
    # Ranks of -3 1 2 4 beside four ties: 7 5 6 8. Of 16 sign patterns, those with a negative sum
    # of at most 7 are none, 5, 6 and 7. Without the ties, 3 could be 1 + 2 as well.
    assert paired_test([0.0] * 8, [-3, 1, 2, 4, 0, 0, 0, 0]).p_value == pytest.approx(2 * 4 / 16)
    assert paired_test([0.0] * 4, [-3, 1, 2, 4]).p_value == pytest.approx(2 * 5 / 16)


def test_systems_with_other_cases_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same cases"):
        paired_test([1.0, 2.0], [1.0])


def test_holm_multiplies_by_the_hypotheses_left_and_keeps_the_order() -> None:
    # Sorted 0.01 0.03 0.04: times 3, 2, 1 = 0.03 0.06 0.04, then the running maximum.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match="p-values"):
        holm([0.5, NAN])
