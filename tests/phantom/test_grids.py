"""Grids, resampling, random fields and soft shapes."""

from __future__ import annotations

import numpy as np
import pytest

from brainmvp_lightning.phantom.deformation import Push, draw_template_positions, rotation
from brainmvp_lightning.phantom.fields import (
    ellipsoid,
    generator,
    interpolate_linearly,
    shell,
    smooth_noise,
)
from brainmvp_lightning.phantom.grids import Grid, head_grid, resample


def test_head_grid_tiles_the_mni_box_around_the_origin() -> None:
    grid = head_grid(1.0)
    assert grid.shape == (182, 218, 182)
    x, y, z = grid.axes_mm()
    assert (x.min(), x.max()) == (-90.5, 90.5)
    assert (y.min(), y.max()) == (-125.5, 91.5)
    assert (z.min(), z.max()) == (-71.5, 109.5)


def test_world_axes_of_a_flipped_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="axis-aligned RAS"):
        Grid((2, 2, 2), np.diag([-1.0, 1, 1, 1])).axes_mm()


def test_resampling_to_a_flipped_grid_reverses_the_array() -> None:
    source = Grid((5, 4, 3), np.eye(4))
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 4
    volume = np.arange(60.0).reshape(5, 4, 3)
    np.testing.assert_allclose(resample(volume, source, Grid((5, 4, 3), flipped)), volume[::-1])


def test_motion_of_one_millimetre_shifts_by_one_voxel_and_outside_is_zero() -> None:
    grid = Grid((5, 1, 1), np.eye(4))
    motion = np.eye(4)
    motion[0, 3] = 1.0
    moved = resample(np.arange(1.0, 6).reshape(5, 1, 1), grid, grid, motion)
    assert moved[:, 0, 0].tolist() == [2, 3, 4, 5, 0]


def test_labels_keep_their_values() -> None:
    grid = head_grid(10.0)
    labels = np.random.default_rng(0).integers(0, 6, grid.shape)
    motion = np.eye(4)
    motion[:3, :3] = rotation(np.array([3.0, 2.0, 1.0]))
    assert set(np.unique(resample(labels, grid, grid, motion, order=0))) <= set(range(6))


def test_thick_slices_average_over_their_thickness() -> None:
    source = Grid((9, 9, 60), np.eye(4))
    affine = np.diag([1.0, 1, 6, 1])
    affine[2, 3] = 2.5
    stripes = np.zeros(source.shape)
    stripes[:, :, ::2] = 1
    thick = resample(stripes, source, Grid((9, 9, 10), affine))
    np.testing.assert_allclose(thick[:, :, 1:-1], 0.5, atol=0.01)


def test_interpolation_keeps_a_straight_line() -> None:
    nodes = np.linspace(0, 1, 3, dtype=np.float32)[:, None, None]
    line = interpolate_linearly(nodes, (9, 1, 1))[:, 0, 0]
    np.testing.assert_allclose(line, np.linspace(0, 1, 9), atol=1e-6)


def test_shells_thinner_than_a_voxel_keep_their_volume() -> None:
    distance = np.arange(-20, 21, dtype=np.float32) * 2  # voxels of 2 mm
    assert shell(distance, 0.3, 0.8, 2.0).sum() * 2 == pytest.approx(0.5)
    assert shell(distance, 0.3, 7.8, 2.0).sum() * 2 == pytest.approx(7.5)


def test_ellipsoid_has_the_volume_of_its_radii() -> None:
    grid = head_grid(2.0)
    volume_ml = ellipsoid(grid.axes_mm(), (0, 0, 0), (20, 30, 25), 2.0).sum() * 8 / 1000
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 2 * 3 * 2.5, rel=0.02)


def test_noise_has_unit_variance_and_the_asked_length() -> None:
    field = smooth_noise(np.random.default_rng(0), (40, 40, 40), 20.0, 2.0)[0]
    assert field.std() == pytest.approx(1, abs=0.3)

    def correlation(step: int) -> float:
        return float(np.corrcoef(field[step:].ravel(), field[:-step].ravel())[0, 1])

    assert correlation(1) > 0.9  # 2 mm
    assert correlation(20) < 0.5  # 40 mm


def test_generators_differ_by_purpose_and_study_only() -> None:
    first = generator(0, 1, "shape").random()
    assert first == generator(0, 1, "shape").random()
    assert len({first, generator(0, 1, "lesion").random(), generator(0, 2, "shape").random()}) == 3


def test_rotation_is_right_handed() -> None:
    turn = rotation(np.array([0.0, 0.0, 90.0]))
    np.testing.assert_allclose(turn @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_push_moves_tissue_away_from_its_centre() -> None:
    grid = head_grid(8.0)
    centre = (3.0, -17.0, 19.0)
    still = draw_template_positions(grid, (), np.random.default_rng(0))
    pushed = draw_template_positions(grid, (Push(centre, 20.0, 0.4),), np.random.default_rng(0))
    offset = np.stack(np.broadcast_arrays(*grid.axes_mm())) - np.array(centre)[:, None, None, None]
    # Voxels beside the centre now show what was nearer to it: positions moved inwards.
    inwards = ((pushed - still) * offset).sum(axis=0)
    assert inwards.max() <= 1e-3
    assert inwards.min() < -50


def test_everybody_stays_near_the_template() -> None:
    grid = head_grid(8.0)
    home = np.stack(np.broadcast_arrays(*grid.axes_mm()))
    for seed in range(5):
        positions = draw_template_positions(grid, (), np.random.default_rng(seed))
        moved_mm = np.linalg.norm(positions - home, axis=0)
        assert 1 < moved_mm.mean() < 12
