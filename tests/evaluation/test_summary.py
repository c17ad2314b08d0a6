"""Summaries of segmentation runs count what failed."""

import json
import math
from dataclasses import replace

import pytest

from brainmvp_lightning.evaluation.segmentation import EmptyRule, Outcome
from brainmvp_lightning.evaluation.summary import format_summary, summarise
from brainmvp_lightning.evaluation.tables import CaseScore

PERFECT = (1.0, 0.0, "scored")
MISSED = (0.0, 374.0, "missed")
HALF = (0.5, 4.0, "scored")
LEFT_OUT = (math.nan, math.nan, "both_empty")


def case(
    study: str,
    region: str,
    score: tuple[float, float, Outcome],
    modalities: str = "t1+t2",
    dataset: str = "d",
    space: str = "native",
) -> CaseScore:
    return CaseScore(study, dataset, "test", modalities, region, space, *score, 1.0, 1.0, 2, 1, 1)


ROWS = [
    case("a", "ET", PERFECT),
    case("a", "WT", PERFECT),
    case("b", "ET", MISSED),
    case("b", "WT", HALF),
]


def test_a_miss_counts_in_the_mean_and_is_counted() -> None:
    (block,) = summarise(ROWS)["blocks"]
    region = block["regions"]["ET"]
    assert region["hd95_mm"]["mean"] == 187.0
    assert region["dice"]["mean"] == region["dice"]["median"] == 0.5
    assert (region["n"], region["missed"], region["false_alarms"], region["both_empty"]) == (
        *(2, 1, 0, 0),
    )
    assert (region["dice"]["low"], region["dice"]["high"]) == (0.0, 1.0)
    assert (region["lesions"], region["found_lesions"], region["invented_lesions"]) == (4, 2, 2)


def test_means_over_regions_and_over_cases() -> None:
    (block,) = summarise(ROWS)["blocks"]
    assert block["mean_over_regions"] == {"dice": 0.625, "hd95_mm": 94.5}
    assert block["mean_over_cases"]["dice"]["mean"] == 0.625
    assert block["mean_over_cases"]["dice"]["median"] == 0.625  # of 1 and 0.25
    assert block["mean_over_cases"]["dice"]["n"] == block["cases"] == 2


def test_what_the_rule_leaves_out_is_counted() -> None:
    (block,) = summarise([*ROWS, case("c", "ET", LEFT_OUT), case("c", "WT", HALF)])["blocks"]
    dice = block["regions"]["ET"]["dice"]
    assert (dice["n"], dice["num_excluded"], dice["mean"]) == (2, 1, 0.5)
    assert block["mean_over_cases"]["dice"]["mean"] == pytest.approx((1 + 0.25 + 0.5) / 3)
    assert "ET 1" in format_summary(summarise([*ROWS, case("c", "ET", LEFT_OUT)]))


def test_a_region_without_any_score_leaves_the_mean_over_regions_undefined() -> None:
    summary = summarise([case("a", "ET", LEFT_OUT), case("a", "WT", HALF)])
    (block,) = summary["blocks"]
    assert block["regions"]["ET"]["dice"]["mean"] is None
    assert block["mean_over_regions"]["dice"] is None
    assert block["mean_over_cases"]["dice"]["mean"] == 0.5
    json.dumps(summary, allow_nan=False)


def test_the_rule_stands_beside_the_numbers() -> None:
    summary = summarise(ROWS, rule=EmptyRule(one_empty=374.0))
    assert summary["empty_rule"] == {"one_empty": 374.0, "both_empty": "perfect"}
    assert summarise(ROWS)["empty_rule"] is None


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [*ROWS, *(replace(row, study=row.study + "2", dice=0.3) for row in ROWS)]
    shuffled = rows[4:] + rows[:4]
    assert json.dumps(summarise(rows)) == json.dumps(summarise(shuffled))


def test_each_subset_of_modalities_has_its_block_and_the_largest_is_first() -> None:
    rows = [*(replace(row, modalities="t1") for row in ROWS), *ROWS]
    blocks = summarise(rows)["blocks"]
    assert [block["modalities"] for block in blocks] == ["t1+t2", "t1"]
    assert [block["cases"] for block in blocks] == [2, 2]


def test_studies_with_different_modalities_are_averaged_together_too() -> None:
    rows = [replace(row, modalities="t1") if row.study == "a" else row for row in ROWS]
    blocks = summarise(rows)["blocks"]
    assert [(b["modalities"], b["cases"]) for b in blocks] == [(None, 2), ("t1+t2", 1), ("t1", 1)]
    assert blocks[0]["regions"]["ET"]["dice"]["mean"] == 0.5


def test_data_sets_and_spaces_are_told_apart() -> None:
    rows = [replace(row, dataset="e") if row.study == "a" else row for row in ROWS]
    rows += [replace(row, space="prepared") for row in ROWS]
    blocks = summarise(rows)["blocks"]
    assert [(b["space"], b["dataset"], b["cases"]) for b in blocks] == [
        ("native", None, 2),
        ("native", "d", 1),
        ("native", "e", 1),
        ("prepared", "d", 2),
    ]


def test_a_case_that_counts_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="scored twice"):
        summarise([*ROWS, ROWS[0]])


def test_the_text_is_aligned_and_names_what_failed() -> None:
    assert format_summary(summarise(ROWS)) == (
        "d, t1+t2: 2 cases, native space\n"
        "region  n    Dice              95 %  HD95 mm            95 %  missed  false alarms  "
        "both empty\n"
        "ET      2  0.5000  0.0000 .. 1.0000   187.00  0.00 .. 374.00       1             0  "
        "         0\n"
        "WT      2  0.7500  0.5000 .. 1.0000     2.00    0.00 .. 4.00       0             0  "
        "         0\n"
        "mean    2  0.6250  0.2500 .. 1.0000    94.50  0.00 .. 189.00"
    )
    assert format_summary(summarise([])) == "no cases"
