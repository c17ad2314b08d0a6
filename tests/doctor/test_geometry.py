from dataclasses import replace

import numpy as np
import pytest

from brainmvp_lightning.doctor.geometry import (
    check_places,
    check_spacing,
    grid_of,
    needs_resampling,
    overlap_of,
    reference_of,
    share_inside,
)
from brainmvp_lightning.preprocessing.recipe import Recipe
from tests.doctor import made


def box(lower: tuple[float, float, float], upper: tuple[float, float, float]) -> made.Look:
    return made.look(head=(lower, upper))


@pytest.mark.parametrize(("shift_mm", "share"), [(0, 1.0), (100, 0.5), (150, 0.25), (200, 0.0)])
def test_overlap_is_the_shared_part_of_the_smaller_field_of_view(
    shift_mm: float, share: float
) -> None:
    scan = made.scan()
    grid = grid_of(scan, Recipe())
    assert grid.shape == (200, 200, 200)
    moved = np.asarray(scan.affine)
    moved[0, 3] += shift_mm
    assert overlap_of(scan.shape, moved.tolist(), grid) == pytest.approx(share)
    assert overlap_of((50, 100, 100), moved.tolist(), grid) == pytest.approx(
        min(1, max(0, (200 - shift_mm) / 100)), abs=0.01
    )


def test_too_little_overlap_is_an_error_and_says_nothing_else() -> None:
    reference = made.scan("t1")
    moved = np.asarray(reference.affine)
    moved[0, 3] += 170
    look = box((100, -50, -50), (200, 50, 50))
    far = replace(made.scan("t2", seen=look), affine=tuple(map(tuple, moved.tolist())))
    (finding,) = check_places([reference, far], "s", Recipe())[1]
    assert (finding.kind, finding.severity) == ("far", "error")
    assert "only 15%" in finding.sentence
    (finding,) = check_places([reference, far], "s", Recipe(min_overlap=0.1))[1]
    assert finding.kind == "misplaced"


def test_heads_that_stick_out_of_each_other_are_misplaced_unless_registered() -> None:
    reference = made.scan("t1")
    moved = made.scan("t2", seen=box((-20, -50, -50), (80, 50, 50)))
    turned = made.scan("t2", seen=box((-65, -35, -50), (65, 35, 50)))
    slab = made.scan("mra", seen=box((-50, -50, -10), (50, 50, 10)))
    for scan, text in ((moved, "by 30 mm"), (turned, "by 30 mm")):
        (finding,) = check_places([reference, scan], "s", Recipe())[1]
        assert (finding.kind, finding.severity) == ("misplaced", "warning")
        assert text in finding.sentence
        assert "recipe.registration" in finding.fix
    assert check_places([reference, slab], "s", Recipe()) == (reference, [])
    (finding,) = check_places([reference, moved], "s", Recipe(registration="rigid"))[1]
    assert finding.severity == "note"


def test_a_reference_that_disagrees_with_all_others_is_to_blame() -> None:
    odd = made.scan("t1", seen=box((-20, -50, -50), (80, 50, 50)))
    others = [made.scan("t2"), made.scan("flair")]
    reference, (finding,) = check_places([odd, *others], "s", Recipe())
    assert reference.modality == "flair"
    assert (finding.kind, finding.severity, finding.file) == ("misplaced", "warning", "s/t1.nii.gz")
    assert "lies elsewhere than the other 2 scans" in finding.sentence
    # Of two scans nobody knows which one is wrong; of three that all differ, neither.
    assert check_places([odd, others[0]], "s", Recipe())[0] is odd
    third = made.scan("pd", seen=box((-90, -50, -50), (10, 50, 50)))
    reference, findings = check_places([odd, others[0], third], "s", Recipe())
    assert (reference, len(findings)) == (odd, 2)


def test_the_reference_is_the_one_that_prepare_takes() -> None:
    scans = [made.scan("flair"), made.scan("t2"), made.scan("swi")]
    assert reference_of(scans, Recipe()).modality == "flair"
    assert reference_of(scans, Recipe(reference=("t2",))).modality == "t2"
    assert reference_of(scans[2:], Recipe()).modality == "swi"


def test_only_other_voxels_need_resampling() -> None:
    scan = made.scan()
    assert needs_resampling(scan, grid_of(scan, Recipe()))
    grid = grid_of(scan, Recipe(spacing_mm=2))
    assert not needs_resampling(scan, grid)
    shifted = np.asarray(scan.affine)
    shifted[0, 3] += 2
    assert not needs_resampling(replace(scan, affine=tuple(map(tuple, shifted.tolist()))), grid)
    shifted[0, 3] += 1
    assert needs_resampling(replace(scan, affine=tuple(map(tuple, shifted.tolist()))), grid)


def test_thick_slices_are_named() -> None:
    thick = np.diag([1.0, 1.0, 8.0, 1.0])
    scan = replace(made.scan(), affine=tuple(map(tuple, thick.tolist())))
    (finding,) = check_spacing(scan, "s")
    assert (finding.kind, finding.severity) == ("coarse", "warning")
    assert "1 x 1 x 8 mm" in finding.sentence
    assert not check_spacing(made.scan(), "s")


def test_points_outside_the_mask_or_the_volume_are_not_in_the_head() -> None:
    head = np.zeros((4, 4, 4), np.bool_)
    head[:2] = True
    points = np.array([[0.0, 1, 3, 9], [0, 1, 1, 1], [0, 1, 1, 1]])
    assert share_inside(points, head, np.eye(4)) == 0.5
