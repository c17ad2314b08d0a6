import numpy as np
import pytest

from brainmvp_lightning.doctor.outliers import MIN_GROUP, group_scans, robust_scores
from tests.doctor import made


def cohort(*medians: float) -> list[made.StudyFacts]:
    return [
        made.study(f"s{number}", scans=(made.scan("t1", f"s{number}", made.look(median=median)),))
        for number, median in enumerate(medians)
    ]


def test_a_scan_in_other_units_stands_out_and_scanners_do_not() -> None:
    usual = [80.0, 90, 100, 110, 120, 150, 200, 220]
    groups, findings = group_scans(cohort(*usual))
    assert (len(groups), findings) == (1, [])
    groups, (finding,) = group_scans(cohort(*usual, 10000))
    assert (finding.kind, finding.severity, finding.study) == ("outlier", "warning", "s8")
    assert finding.sentence.startswith("its median intensity is 1e+04, that of the 9 t1")
    assert groups[0].odd == {8}


def test_scores_are_distances_from_the_median_in_robust_deviations() -> None:
    looks = [made.look(median=float(np.exp(value))) for value in range(9)]
    scores = robust_scores(looks)
    assert scores[4, 0] == pytest.approx(0)
    assert scores[8, 0] == pytest.approx(4 / (1.4826 * 2))
    assert np.allclose(scores[:, 1:], 0)


def test_small_groups_are_not_judged() -> None:
    _, findings = group_scans(cohort(*[100] * (MIN_GROUP - 2), 1e6))
    assert findings == []
    _, findings = group_scans(cohort(*[100] * (MIN_GROUP - 1), 1e6))
    assert len(findings) == 1
