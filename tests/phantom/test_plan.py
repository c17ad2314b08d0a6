"""Who is in the cohort, and where scans are placed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from brainmvp_lightning.phantom.cohort import CohortSettings
from brainmvp_lightning.phantom.contrasts import MODALITIES
from brainmvp_lightning.phantom.lesions import DIAGNOSES
from brainmvp_lightning.phantom.plan import plan_study
from brainmvp_lightning.phantom.sites import (
    MAX_MOTION_DEGREES,
    MAX_MOTION_MM,
    SITES,
    Site,
    place_series,
)


@pytest.mark.parametrize("seed", range(10))
def test_every_modality_is_in_at_least_six_of_24_studies(seed: int) -> None:
    plans = [plan_study(seed, index) for index in range(24)]
    counts = Counter(name for plan in plans for name in plan.modalities)
    assert set(counts) == set(MODALITIES)
    assert min(counts.values()) >= 6


@pytest.mark.parametrize("seed", range(10))
def test_subsets_are_of_all_sizes_and_differ(seed: int) -> None:
    plans = [plan_study(seed, index) for index in range(24)]
    sizes = Counter(len(plan.modalities) for plan in plans)
    assert sizes[1] == 3  # one in eight
    assert sizes[8] == 3
    assert len({plan.modalities for plan in plans}) >= 12


def test_cohort_has_every_site_and_diagnosis() -> None:
    plans = [plan_study(0, index) for index in range(24)]
    assert {plan.site.name for plan in plans} == {site.name for site in SITES}
    assert {plan.diagnosis for plan in plans} == set(DIAGNOSES)
    assert {plan.is_old for plan in plans} == {True, False}
    assert len({plan.participant for plan in plans}) == 24


def test_other_seeds_give_other_subsets() -> None:
    first, second = ([plan_study(seed, i).modalities for i in range(8)] for seed in (0, 1))
    assert first != second


def test_reference_is_one_of_the_modalities() -> None:
    for index in range(24):
        plan = plan_study(0, index)
        assert plan.reference in plan.modalities


def test_sites_differ_in_orientation_thickness_format_and_stripping() -> None:
    series = [grid for site in SITES for grid in (site.grid, *site.special.values())]
    assert {"LPS", "RAS", "RPS", "RIA", "RSP"} <= {grid.axes for grid in series}
    assert max(max(grid.spacing_mm) for grid in series) == 6
    assert {site.file_format for site in SITES} == {
        "integers",
        "scaled",
        "four_d",
        "uncompressed",
    }
    assert {site.is_stripped for site in SITES} == {True, False}
    assert {site.field_tesla for site in SITES} == {1.5, 3.0}


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_full_resolution_has_the_native_grids(site: Site) -> None:
    placements = place_series(site, MODALITIES, 1.0, np.random.default_rng(0))
    assert placements["flair"].grid.shape == site.grid.shape
    np.testing.assert_allclose(placements["flair"].grid.spacing_mm, site.grid.spacing_mm)
    assert placements["pd"] is placements["t2"]
    assert placements["adc"] is placements["dwi"]


def test_coarse_cohorts_keep_the_thickness_of_thick_slices() -> None:
    routine = next(site for site in SITES if site.name == "routine")
    grid = place_series(routine, ("flair",), 2.0, np.random.default_rng(0))["flair"].grid
    np.testing.assert_allclose(grid.spacing_mm, (1.8, 1.8, 6.0))
    assert grid.shape == (128, 128, 26)


def test_registered_sites_share_one_grid_without_motion() -> None:
    atlas = next(site for site in SITES if site.is_registered)
    placements = place_series(atlas, MODALITIES, 2.0, np.random.default_rng(0))
    assert len({id(placement) for placement in placements.values()}) == 1
    np.testing.assert_array_equal(placements["t1"].motion, np.eye(4))


def test_motion_between_series_is_at_most_half_a_millimetre_and_degree() -> None:
    site = next(site for site in SITES if not site.is_registered)
    for seed in range(20):
        placements = place_series(site, MODALITIES, 2.0, np.random.default_rng(seed))
        for placement in placements.values():
            assert np.abs(placement.motion[:3, 3]).max() <= MAX_MOTION_MM == 0.5
            # Three rotations of at most half a degree make at most their sum.
            angle = np.degrees(np.arccos((np.trace(placement.motion[:3, :3]) - 1) / 2))
            assert angle <= 3 * MAX_MOTION_DEGREES == 1.5


def test_findings_and_modalities_can_be_chosen() -> None:
    plans = [plan_study(0, index, ("HGG", "LGG"), ("t2", "t1")) for index in range(8)]
    assert [plan.diagnosis for plan in plans] == ["HGG", "LGG"] * 4
    assert {plan.modalities for plan in plans} == {("t1", "t2")}


def test_the_choice_decides_about_a_cohort_and_an_unknown_one_is_named() -> None:
    plain = CohortSettings(2, 8.0, 0)
    chosen = CohortSettings(2, 8.0, 0, diagnoses=("HGG",))
    assert "diagnoses" not in plain.to_json()
    assert chosen.to_json()["diagnoses"] == ["HGG"]
    with pytest.raises(ValueError, match="glioma"):
        CohortSettings(2, 8.0, 0, diagnoses=("glioma",))
