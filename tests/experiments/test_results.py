"""Scores of runs become numbers that can be worked out by hand."""

import math
from pathlib import Path

import pytest

from brainmvp_lightning.evaluation.tables import write_cases
from brainmvp_lightning.experiments.comparison import compare_arms
from brainmvp_lightning.experiments.results import read_results
from tests.experiments.scores import case, place, write_answers, write_dice


def test_a_segmentation_is_averaged_over_regions_then_cases(tmp_path: Path) -> None:
    here = place(tmp_path, "a")
    write_cases(
        here.cases,
        [
            case("one", "ET", 0.2, 4.0),
            case("one", "WT", 0.6, 2.0),
            case("two", "ET", 0.0, 90.0, "missed"),
            case("two", "WT", 0.8, 1.0),
            case("three", "ET", math.nan, math.nan, "both_empty"),
            case("three", "WT", 0.7, 3.0),
        ],
    )
    (run,) = read_results([here, place(tmp_path, "not tested")])
    assert run.cases == {
        ("toy", "one"): pytest.approx(0.4),
        ("toy", "two"): pytest.approx(0.4),
        ("toy", "three"): pytest.approx(0.7),
    }
    assert run.measures == pytest.approx(
        {
            "dice": 0.5,
            "dice_ET": 0.1,
            "dice_WT": 0.7,
            "hd95_mm": (47 + 2) / 2,
            "hd95_mm_ET": 47.0,
            "hd95_mm_WT": 2.0,
        }
    )
    assert run.counts == {"cases": 3, "misses": 1, "false_alarms": 0}


def test_the_full_input_on_the_grid_of_the_file_counts(tmp_path: Path) -> None:
    here = place(tmp_path, "a")
    write_cases(
        here.cases,
        [
            case("one", "WT", 0.9),
            case("one", "WT", 0.1, modalities="t1"),
            case("one", "WT", 0.2, space="prepared"),
            case("two", "WT", 0.5, modalities="t1"),
        ],
    )
    (run,) = read_results([here])
    assert run.cases == {("toy", "one"): 0.9, ("toy", "two"): 0.5}


def test_a_classification_is_scored_by_auc_accuracy_and_f1(tmp_path: Path) -> None:
    answers = {"a": ("well", 0.1), "b": ("well", 0.7), "c": ("sick", 0.6), "d": ("sick", 0.8)}
    (run,) = read_results([write_answers(place(tmp_path, "a"), answers)])
    # Of four pairs sick-well, c below b is wrong; predicted sick: b, c, d.
    assert run.measures == pytest.approx({"auc": 0.75, "accuracy": 0.75, "f1": 0.8})
    assert run.counts == {"cases": 4}
    assert list(run.cases.values()) == pytest.approx([0.9, 0.3, 0.6, 0.8])


def test_runs_of_other_tasks_are_named(tmp_path: Path) -> None:
    places = [
        write_dice(place(tmp_path, "a"), [0.5]),
        write_answers(place(tmp_path, "b"), {"a": ("well", 0.1)}),
    ]
    with pytest.raises(ValueError, match=r"b_1_0 has auc.*must do one task"):
        read_results(places)


def test_arms_are_averaged_over_seeds_and_tested_on_paired_cases(tmp_path: Path) -> None:
    base = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    places = [
        write_dice(place(tmp_path, "scratch", seed=0), base),
        write_dice(place(tmp_path, "scratch", seed=1), [v + 0.2 for v in base]),
        write_dice(place(tmp_path, "better", seed=0), [v + 0.2 for v in base]),
        write_dice(place(tmp_path, "better", seed=1), [v + 0.2 for v in base]),
        write_dice(place(tmp_path, "same", seed=0), [v + 0.1 for v in base]),
    ]
    scratch, better, same = compare_arms(read_results(places), ("scratch", "better", "same"))
    assert scratch.measures["dice"] == pytest.approx(0.45)
    assert scratch.values == pytest.approx((0.35, 0.55))
    assert scratch.spread == pytest.approx(math.sqrt(0.02))
    assert scratch.test is None
    assert scratch.interval.estimate == pytest.approx(0.45)
    assert scratch.interval.low is not None
    assert 0.2 < scratch.interval.low < 0.45 < scratch.interval.high < 0.7  # type: ignore[operator]
    assert better.test is not None
    assert better.test.difference.estimate == pytest.approx(0.1)
    # All six differences have one sign: two of the 2^6 sign patterns are as extreme.
    assert better.test.p_value == pytest.approx(2 / 64)
    assert better.p_holm == pytest.approx(2 * 2 / 64)
    assert same.spread is None
    assert same.test is not None
    assert same.test.difference.estimate == pytest.approx(0.0)


def test_cases_are_paired_by_study_not_by_place(tmp_path: Path) -> None:
    first, second = place(tmp_path, "a"), place(tmp_path, "b")
    write_cases(first.cases, [case("x", "WT", 0.1), case("y", "WT", 0.5)])
    write_cases(second.cases, [case("y", "WT", 0.6), case("z", "WT", 0.9)])
    _, row = compare_arms(read_results([first, second]), ("a", "b"))
    assert row.test is not None
    assert row.test.difference.n == 1
    assert row.test.difference.estimate == pytest.approx(0.1)
    assert row.num_cases == 2


def test_arms_are_compared_within_one_share_only(tmp_path: Path) -> None:
    places = [
        write_dice(place(tmp_path, "a", 0.2), [0.1, 0.2]),
        write_dice(place(tmp_path, "b", 0.2), [0.2, 0.3]),
        write_dice(place(tmp_path, "b", 1.0), [0.9, 0.9]),
    ]
    rows = compare_arms(read_results(places), ("a", "b"))
    assert [(row.arm, row.fraction) for row in rows] == [("a", 0.2), ("b", 0.2), ("b", 1.0)]
    assert [row.test is not None for row in rows] == [False, True, False]
    assert [row.p_holm is not None for row in rows] == [False, True, False]


def test_the_interval_of_an_auc_is_that_of_the_mean_over_seeds(tmp_path: Path) -> None:
    perfect = {f"w{n}": ("well", 0.1 + n / 100) for n in range(5)}
    perfect |= {f"s{n}": ("sick", 0.8 + n / 100) for n in range(5)}
    worst = {study: (truth, 1 - p) for study, (truth, p) in perfect.items()}
    places = [
        write_answers(place(tmp_path, "a", seed=0), perfect),
        write_answers(place(tmp_path, "a", seed=1), worst),
        write_answers(place(tmp_path, "b", seed=0), perfect),
    ]
    first, second = compare_arms(read_results(places), ("a", "b"))
    # Whatever cases are drawn, one run has AUC 1 and the other 0.
    assert (first.interval.low, first.interval.estimate, first.interval.high) == (0.5, 0.5, 0.5)
    assert first.spread == pytest.approx(math.sqrt(0.5))
    assert (second.interval.low, second.interval.high) == (1.0, 1.0)
    assert second.test is not None
    assert second.test.difference.estimate == pytest.approx(0.85 - 0.5, abs=0.03)


def test_an_auc_without_one_of_the_classes_is_not_made_up(tmp_path: Path) -> None:
    here = write_answers(place(tmp_path, "a"), {"x": ("well", 0.2), "y": ("well", 0.4)})
    (row,) = compare_arms(read_results([here]), ("a",))
    assert math.isnan(row.measures["auc"])
    assert row.interval.estimate is None
