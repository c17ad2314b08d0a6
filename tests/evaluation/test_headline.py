"""The numbers that are compared between runs count every case once, whatever it lacks."""

import pytest

from brainmvp_lightning.evaluation.class_tables import ClassScore
from brainmvp_lightning.evaluation.headline import headline, with_most_modalities
from brainmvp_lightning.evaluation.tables import CaseScore


def case(study: str, dice: float, modalities: str = "t1", space: str = "native") -> CaseScore:
    return CaseScore(study, "d", "test", modalities, "WT", space, dice, 1.0, "scored", 1.0, 1.0)


def test_studies_with_fewer_modalities_count_like_others() -> None:
    rows = [case("a", 0.9, "t1+t2"), case("a", 0.1, "t1"), *(case(f"b{n}", 0.3) for n in range(9))]
    assert headline(rows)["dice"] == pytest.approx((0.9 + 9 * 0.3) / 10)
    assert headline(rows)["cases"] == 10
    assert len(with_most_modalities(rows)) == 10


def test_studies_scored_on_the_prepared_grid_count_like_others() -> None:
    rows = [case("a", 0.95), *(case(f"b{n}", 0.3, space="prepared") for n in range(9))]
    values = headline(rows)
    assert values["dice"] == pytest.approx((0.95 + 9 * 0.3) / 10)
    assert values["dice_WT"] == values["dice"]
    assert values["hd95_mm"] == 1.0


def test_classes_give_their_metrics() -> None:
    rows = [
        ClassScore.of(
            [1 - p, p], ["NC", "AD"], truth=truth, study=name, dataset="d", modalities=["t1"]
        )
        for name, truth, p in (("a", "NC", 0.2), ("b", "AD", 0.8), ("c", "AD", 0.4))
    ]
    values = headline(rows)
    assert values["auc"] == 1.0
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["f1"] == pytest.approx(2 / 3)
