import numpy as np
import pytest

from brainmvp_lightning.preprocessing.geometry import (
    box_on_grid,
    common_box,
    index_map,
    is_separable,
    study_grid,
    to_ras,
    whole_shift,
    within,
)
from tests.volumes.images import scaled


def turned(degrees: float) -> np.ndarray:
    """A rotation about z."""
    affine = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine[:2, :2] = [[c, -s], [s, c]]
    return affine


def test_axes_point_right_front_up_and_every_voxel_stays_where_it_is() -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    affine = np.array([[0, 0, -1.0, 5], [-2, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1]])  # P S L
    ras, ras_affine = to_ras(array, affine)
    assert ras.shape == (4, 2, 3)
    assert (np.diag(ras_affine)[:3] == (1, 2, 3)).all()
    for index in np.ndindex(*ras.shape):
        world = ras_affine @ (*index, 1)
        original = np.rint(np.linalg.solve(affine, world)).astype(int)
        assert array[tuple(original[:3])] == ras[index]


def test_a_reference_on_the_right_grid_gives_its_own() -> None:
    grid = study_grid((7, 8, 9), scaled(2.0, (1, 2, 3)), 2.0)
    assert grid.shape == (7, 8, 9)
    np.testing.assert_array_equal(grid.affine, scaled(2.0, (1, 2, 3)))


def test_rounding_in_the_header_does_not_matter() -> None:
    affine = scaled(1.0, (1, 2, 3))
    affine[0, 1] = 1e-6
    assert study_grid((200, 200, 200), affine, 1.0).shape == (200, 200, 200)


def test_the_grid_covers_the_reference_from_edge_to_edge() -> None:
    # 10 voxels of 1 mm and 5 of 2 mm: both 10 mm. Along z the edges lie at -1 and 9.
    grid = study_grid((10, 10, 5), np.diag([1.0, 1.0, 2.0, 1.0]), 1.0)
    assert grid.shape == (10, 10, 10)
    np.testing.assert_allclose(grid.affine[:3, 3], (0, 0, -0.5))


def test_a_field_of_view_that_does_not_divide_is_covered_and_centred() -> None:
    # 5 voxels of 1 mm: edges at -0.5 and 4.5; 3 voxels of 2 mm: edges at -1 and 5.
    grid = study_grid((5, 5, 5), scaled(1.0), 2.0)
    assert grid.shape == (3, 3, 3)
    np.testing.assert_allclose(grid.affine[:3, 3], (0, 0, 0))


def test_a_turned_reference_gets_an_upright_grid_around_it() -> None:
    grid = study_grid((10, 10, 10), turned(45), 1.0)
    assert grid.shape == (15, 15, 10)  # 10 * sqrt(2) = 14.1
    np.testing.assert_array_equal(grid.affine[:3, :3], np.eye(3))


@pytest.mark.parametrize(
    ("affine", "shift", "separable"),
    [
        (scaled(), (0, 0, 0), True),
        (scaled(1.0, (-2, 3, 0)), (2, -3, 0), True),
        (scaled(1.0, (0.5, 0, 0)), None, True),
        (scaled(2.0), None, True),
        (turned(10), None, False),
    ],
)
def test_maps_are_sorted_by_what_they_need(
    affine: np.ndarray, shift: tuple[int, int, int] | None, separable: bool
) -> None:
    grid = study_grid((10, 10, 10), scaled(), 1.0)
    matrix = index_map(affine, grid)
    assert whole_shift(matrix, grid.shape) == shift
    assert is_separable(matrix, grid.shape) == separable


def test_a_box_of_a_scan_is_found_on_the_grid() -> None:
    box = ((2, 3, 4), (5, 7, 9))
    # Moved by whole voxels it stays the same box; grid voxel i lies at scan voxel i + 1.
    assert box_on_grid(box, scaled(1.0, (1, 1, 1)), (20, 20, 20)) == ((1, 2, 3), (4, 6, 8))
    # Voxels half as large: edges at 1.5 and 4.5 are at 3 and 9 of the grid.
    assert box_on_grid(box, scaled(0.5), (20, 20, 20)) == ((3, 5, 7), (10, 14, 18))
    assert box_on_grid(box, scaled(1.0), (4, 4, 5)) == ((2, 3, 4), (4, 4, 5))
    assert box_on_grid(box, scaled(1.0), (2, 4, 5)) is None


def test_a_tilted_box_lies_within_its_box_on_the_grid() -> None:
    found = box_on_grid(((4, 4, 4), (6, 6, 6)), turned(45), (20, 20, 20))
    assert found is not None
    centres = [(4, 4), (4, 5), (5, 4), (5, 5)]
    places = np.linalg.inv(turned(45))[:2, :2] @ np.array(centres).T
    start, stop = np.array(found[0][:2])[:, None], np.array(found[1][:2])[:, None]
    inside = (places >= 0).all(axis=0)
    assert ((places >= start - 0.5) & (places <= stop - 0.5)).all(axis=0)[inside].all()


def test_boxes_meet_or_not() -> None:
    first, second = ((1, 1, 1), (5, 5, 5)), ((3, 0, 4), (9, 9, 9))
    assert common_box(first, second) == ((3, 1, 4), (5, 5, 5))
    assert common_box(first, ((5, 0, 0), (9, 9, 9))) is None
    assert within(((3, 1, 4), (5, 5, 5)), first) == ((2, 0, 3), (4, 4, 4))
