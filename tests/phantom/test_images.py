"""Lesions and contrasts on a small block of tissue made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from brainmvp_lightning.phantom.acquisition import acquire
from brainmvp_lightning.phantom.body import Body
from brainmvp_lightning.phantom.contrasts import (
    MODALITIES,
    WHITE_LEVEL,
    Scanner,
    draw_texture,
    render,
)
from brainmvp_lightning.phantom.grids import Grid
from brainmvp_lightning.phantom.lesions import (
    DIAGNOSES,
    Lesion,
    draw_lesion,
    paint_hyperintensities,
    paint_lesion,
)
from brainmvp_lightning.phantom.sequences import draw_protocols
from brainmvp_lightning.phantom.sites import Placement
from brainmvp_lightning.phantom.tissues import CLASSES, INDEX, typical_tissues


def block(tissue: str = "wm") -> Body:
    """A cube of 64 mm, all of one tissue, centred on the origin; voxels of 2 mm."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -31
    shape = (32, 32, 32)
    fractions = np.zeros((len(CLASSES), *shape), np.float32)
    fractions[INDEX[tissue]] = 1
    whole, none = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    return Body(Grid(shape, affine), fractions, whole, none, none, np.zeros(shape, np.uint8))


def scanner(body: Body) -> Scanner:
    rng = np.random.default_rng(0)
    flat = np.zeros(body.grid.shape, np.float32)
    return Scanner(3.0, typical_tissues(3.0), draw_protocols(3.0, "mprage", rng), flat)


@pytest.mark.parametrize(
    ("diagnosis", "labels"),
    [("HGG", {0, 1, 2, 3}), ("LGG", {0, 1, 2}), ("stroke", {0, 4}), ("schwannoma", {0, 5})],
)
def test_lesions_fill_their_place_and_get_their_labels(diagnosis: str, labels: set[int]) -> None:
    body = block()
    paint_lesion(body, Lesion(diagnosis, (0.0, 0.0, 0.0), 10.0), np.random.default_rng(0))
    assert set(np.unique(body.lesion)) == labels
    # A ball of 10 mm has 4.2 ml; gliomas add oedema of up to 2.6 times the radius.
    assert 2 < (body.lesion > 0).sum() * 8 / 1000 < 75
    np.testing.assert_allclose(body.fractions.sum(axis=0), 1, atol=1e-5)


def test_lesions_are_drawn_on_both_sides_within_the_head() -> None:
    for diagnosis in set(DIAGNOSES) - {"healthy"}:
        lesions = [draw_lesion(diagnosis, np.random.default_rng(seed)) for seed in range(20)]
        sides = {np.sign(lesion.centre_mm[0]) for lesion in lesions if lesion}
        assert sides == {-1, 1}
        assert all(lesion and np.linalg.norm(lesion.centre_mm) < 75 for lesion in lesions)
    assert draw_lesion("healthy", np.random.default_rng(0)) is None


def test_unknown_diagnosis_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'cold'; known are HGG, LGG"):
        draw_lesion("cold", np.random.default_rng(0))


def test_lesion_at_the_border_is_cut() -> None:
    body = block()
    paint_lesion(body, Lesion("stroke", (31.0, 31.0, 31.0), 10.0), np.random.default_rng(0))
    assert (body.lesion == 4).any()


def test_old_people_have_more_hyperintensities() -> None:
    volumes = []
    for amount in (0.0, 1.0):
        body = block()
        paint_hyperintensities(body, amount, np.random.default_rng(0))
        volumes.append(body.fractions[INDEX["wmh"]].sum())
    assert volumes[1] > 2 * volumes[0] > 0


@pytest.mark.parametrize("modality", MODALITIES)
def test_white_matter_has_the_grey_level_of_the_file(modality: str) -> None:
    body = block()
    rng = np.random.default_rng(0)
    image = render(body, scanner(body), modality, rng)
    values = acquire(image, body, Placement(body.grid, np.eye(4)), modality, False, rng)
    inner = values[8:24, 8:24, 8:24]
    # MRA dims tissue by magnetisation transfer; ADC of white matter is 0.72e-3 mm2/s.
    expected = {"adc": 720.0, "mra": 0.55 * WHITE_LEVEL["mra"]}.get(modality)
    assert inner.mean() == pytest.approx(expected or WHITE_LEVEL[modality], rel=0.2)


def test_infarct_is_bright_on_dwi_and_dark_on_adc() -> None:
    body = block()
    paint_lesion(body, Lesion("stroke", (0.0, 0.0, 0.0), 12.0), np.random.default_rng(0))
    core, outside = body.fractions[INDEX["infarct"]] > 0.7, body.lesion == 0
    for modality, lowest, highest in (("dwi", 1.4, 2.6), ("adc", 0.5, 0.9)):
        image = render(body, scanner(body), modality, np.random.default_rng(0))
        ratio = image[core].mean() / image[8:24, 8:24, 8:24][outside[8:24, 8:24, 8:24]].mean()
        assert lowest < ratio < highest


def test_vessels_are_dark_on_t2_and_bright_on_mra() -> None:
    body = block()
    body.paint("vessel", (body.whole().distance_to((0, 0, 0)) < 8).astype(np.float32), body.whole())
    for modality, is_bright in (("t2", False), ("mra", True)):
        image = render(body, scanner(body), modality, np.random.default_rng(0))
        assert (image[16, 16, 16] > 2 * image[4, 4, 4]) == is_bright


def test_noise_of_air_is_rayleigh() -> None:
    body = block()
    body.fractions[:] = 0
    rng = np.random.default_rng(0)
    image = render(body, scanner(body), "t1", rng)
    values = acquire(image, body, Placement(body.grid, np.eye(4)), "t1", False, rng)
    # A Rayleigh variable has mean/deviation = sqrt(pi / 2) / sqrt(2 - pi / 2) = 1.913
    assert values.mean() / values.std() == pytest.approx(1.913, rel=0.02)


def test_stripping_blanks_everything_but_the_brain() -> None:
    body = block()
    body.brain[:16] = 0
    rng = np.random.default_rng(0)
    image = render(body, scanner(body), "t1", rng)
    values = acquire(image, body, Placement(body.grid, np.eye(4)), "t1", True, rng)
    assert not values[:16].any()
    assert values[16:].all()


def test_texture_varies_by_a_few_percent() -> None:
    texture = draw_texture(block().grid, np.random.default_rng(0))
    assert 0.01 < texture.std() < 0.05
