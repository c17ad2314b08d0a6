"""Scores of regions, and what empty ones cost."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from monai.metrics import DiceMetric, HausdorffDistanceMetric

from brainmvp_lightning.evaluation.lesions import LesionCounts, count_lesions
from brainmvp_lightning.evaluation.segmentation import EmptyRule, RegionScore, score_regions

UNIT = (1.0, 1.0, 1.0)
EMPTY = np.zeros((3, 4, 12), bool)
FULL = np.ones((3, 4, 12), bool)


def score(prediction: np.ndarray, truth: np.ndarray, rule: EmptyRule | None = None) -> RegionScore:
    (answer,) = score_regions(prediction[None], truth[None], UNIT, ["lesion"], rule)
    return answer


def test_dice_and_volumes_of_half_a_region() -> None:
    half = FULL.copy()
    half[..., 6:] = False
    (answer,) = score_regions(half[None], FULL[None], (2.0, 2.0, 5.0), ["WT"])
    assert answer.region == "WT"
    assert answer.outcome == "scored"
    assert answer.dice == pytest.approx(2 * 72 / (72 + 144))
    assert answer.truth_ml == pytest.approx(144 * 0.02)
    assert answer.prediction_ml == pytest.approx(72 * 0.02)


def test_each_region_keeps_its_name_and_score() -> None:
    answers = score_regions(np.stack([FULL, EMPTY]), np.stack([FULL, FULL]), UNIT, ["ET", "TC"])
    assert [(one.region, one.dice) for one in answers] == [("ET", 1.0), ("TC", 0.0)]


def test_a_miss_and_a_false_alarm_cost_the_diagonal_of_the_image() -> None:
    missed, invented = score(EMPTY, FULL), score(FULL, EMPTY)
    assert (missed.outcome, missed.dice, missed.hd95_mm) == ("missed", 0.0, 13.0)  # 3 4 12
    assert (invented.outcome, invented.dice, invented.hd95_mm) == ("false_alarm", 0.0, 13.0)
    (stretched,) = score_regions(EMPTY[None], FULL[None], (2.0, 2.0, 2.0), ["lesion"])
    assert stretched.hd95_mm == 26.0


def test_a_miss_can_cost_a_number_or_have_no_distance_but_its_dice_stays_zero() -> None:
    fixed = score(EMPTY, FULL, EmptyRule(one_empty=374))
    assert (fixed.dice, fixed.hd95_mm) == (0.0, 374.0)
    without = score(EMPTY, FULL, EmptyRule(one_empty="exclude"))
    assert without.dice == 0.0
    assert math.isnan(without.hd95_mm)


def test_both_empty_is_perfect_or_left_out() -> None:
    perfect = score(EMPTY, EMPTY)
    assert (perfect.outcome, perfect.dice, perfect.hd95_mm) == ("both_empty", 1.0, 0.0)
    left_out = score(EMPTY, EMPTY, EmptyRule(both_empty="exclude"))
    assert math.isnan(left_out.dice)
    assert math.isnan(left_out.hd95_mm)


@pytest.mark.parametrize(
    "options",
    [
        {"one_empty": "worst"},
        {"one_empty": -1.0},
        {"one_empty": math.nan},
        {"both_empty": "diagonal"},
    ],
)
def test_unknown_rules_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="exclude"):
        EmptyRule(**options)


@pytest.mark.parametrize(
    ("text", "expected"), [("exclude", "exclude"), ("diagonal", "diagonal"), ("374", 374.0)]
)
def test_the_rule_can_be_written_in_yaml(text: str, expected: str | float) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(EmptyRule, "rule")
    given = parser.parse_args([f"--rule.one_empty={text}"])
    assert EmptyRule(**vars(given.rule)) == EmptyRule(one_empty=expected)


def test_dice_equals_that_of_monai_on_overlapping_regions() -> None:
    rng = np.random.default_rng(0)
    prediction, truth = (rng.random((3, 8, 9, 10)) < 0.4 for _ in range(2))
    metric = DiceMetric(include_background=True, reduction="none")
    expected = metric(*(torch.from_numpy(mask)[None].float() for mask in (prediction, truth)))
    answers = score_regions(prediction, truth, UNIT, ["a", "b", "c"])
    np.testing.assert_allclose([one.dice for one in answers], expected[0].numpy(), rtol=1e-6)


def test_monai_averages_a_miss_away_and_we_do_not() -> None:
    cases = [(EMPTY, FULL), (FULL, FULL)]
    metric = HausdorffDistanceMetric(include_background=True, percentile=95, reduction="mean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the prediction is empty
        for prediction, truth in cases:
            metric(*(torch.from_numpy(mask)[None, None] for mask in (prediction, truth)))
        monai_mean = float(metric.aggregate())
    our_mean = np.mean([score(prediction, truth).hd95_mm for prediction, truth in cases])
    assert monai_mean == 0.0  # as if both were perfect
    assert our_mean == 13.0 / 2


def test_lesions_are_counted_one_by_one() -> None:
    truth, prediction = np.zeros((2, 12, 12, 12), bool)
    truth[1:3, 1:3, 1:3] = truth[3, 3, 3] = True  # touch by a corner: one lesion
    truth[8, 8, 8] = True
    prediction[2:4, 2:4, 2:4] = True
    prediction[0, 11, 0] = prediction[11, 0, 0] = True
    assert count_lesions(prediction, truth) == LesionCounts(lesions=2, found=1, invented=2)
    assert count_lesions(np.zeros_like(truth), truth) == LesionCounts(2, 0, 0)
    assert count_lesions(prediction, np.zeros_like(truth)) == LesionCounts(0, 0, 3)


@pytest.mark.parametrize(
    ("prediction", "names", "spacing", "error"),
    [
        (EMPTY[None].astype(np.uint8), ["a"], UNIT, TypeError),
        (EMPTY[None, :2], ["a"], UNIT, ValueError),
        (EMPTY[None], ["a", "b"], UNIT, ValueError),
        (EMPTY[None], ["a"], (1.0, 0.0, 1.0), ValueError),
        (EMPTY[None], ["a"], (1.0, 1.0), ValueError),
    ],
    ids=["not boolean", "other shape", "other names", "no spacing", "two sides"],
)
def test_arguments_that_do_not_fit_are_refused(
    prediction: np.ndarray, names: list[str], spacing: tuple[float, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        score_regions(prediction, FULL[None], spacing, names)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.01, 0.2, 0.9]))
def test_dice_lies_between_zero_and_one_and_is_symmetric(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((6, 6, 6)) < share, rng.random((6, 6, 6)) < 0.1
    there, back = score(prediction, truth), score(truth, prediction)
    assert 0 <= there.dice <= 1
    assert (there.dice, there.hd95_mm) == (back.dice, back.hd95_mm)
    assert 0 <= there.hd95_mm <= math.sqrt(3) * 6
