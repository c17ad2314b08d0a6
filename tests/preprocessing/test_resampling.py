import numpy as np
import pytest

from brainmvp_lightning.preprocessing.geometry import Grid, index_map, study_grid
from brainmvp_lightning.preprocessing.interpolation import oblique, separable
from brainmvp_lightning.preprocessing.resampling import Route, place, shared_by, shared_field
from brainmvp_lightning.volumes.nifti import Volume
from tests.preprocessing.test_geometry import turned
from tests.volumes.images import head, scaled


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Intensity 2 x + 3 y - z in millimetres, which linear interpolation reproduces."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    world = np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3].reshape(3, 1, 1, 1)
    return (2 * world[0] + 3 * world[1] - world[2]).astype(np.float32)


def test_a_scan_on_the_grid_keeps_its_numbers_whatever_its_orientation() -> None:
    array = head((6, 7, 8))
    flipped = scaled()
    flipped[0] = (-1, 0, 0, 5)
    volume, grid = Volume(array[::-1], flipped, 0.5, 3.0), Grid((6, 7, 8), scaled())
    placed = place(volume, grid, 0, "linear")
    assert placed.is_exact
    assert shared_by(volume, grid) == 1.0
    assert placed.array.dtype == np.int16
    assert (placed.slope, placed.intercept) == (0.5, 3.0)
    np.testing.assert_array_equal(placed.array, array)


def test_a_shift_by_whole_voxels_moves_numbers_without_interpolation() -> None:
    array = head((6, 6, 6))
    volume, grid = Volume(array, scaled(1, (2, -1, 0))), Grid((6, 6, 6), scaled())
    placed = place(volume, grid, -9, "linear")
    assert placed.is_exact
    expected = np.full((6, 6, 6), -9, np.int16)
    expected[2:, :5] = array[:4, 1:]
    np.testing.assert_array_equal(placed.array, expected)
    assert shared_by(volume, grid) == pytest.approx(4 * 5 * 6 / 6**3)


def test_scans_that_do_not_meet_share_nothing() -> None:
    for origin in ((100, 0, 0), (100.5, 0, 0)):
        volume, grid = Volume(head(), scaled(1, origin)), Grid((8, 8, 8), scaled())
        placed = place(volume, grid, 7, "linear")
        assert shared_by(volume, grid) == 0
        assert (placed.array == 7).all()


@pytest.mark.parametrize("affine", [np.diag([1.5, 0.8, 2.0, 1.0]), turned(20)])
def test_linear_functions_of_the_world_survive(affine: np.ndarray) -> None:
    affine = affine.copy()
    affine[:3, 3] = (-12, -9, -11)
    grid = Grid((8, 6, 5), scaled(1.0, (-3, -2, -2)))
    placed = place(Volume(ramp((24, 24, 24), affine), affine), grid, 0, "linear")
    assert not placed.is_exact
    assert placed.array.dtype == np.float32
    np.testing.assert_allclose(placed.array, ramp(grid.shape, grid.affine), atol=2e-5)


def test_scaling_of_the_file_is_applied_where_voxels_are_interpolated() -> None:
    array = np.full((8, 8, 8), 10, np.int16)
    placed = place(Volume(array, scaled(), 0.5, 3.0), Grid((4, 4, 4), scaled(1.5)), 0, "linear")
    assert (placed.slope, placed.intercept) == (1.0, 0.0)
    np.testing.assert_allclose(placed.array, 8.0)


def test_the_outer_half_voxel_repeats_and_beyond_is_background() -> None:
    array = np.array([10, 20], np.float32).reshape(2, 1, 1) * np.ones((2, 4, 4), np.float32)
    # Grid points along x at -0.75, -0.25, 0.25 ... of a scan with centres 0 and 1.
    affine = np.diag([0.5, 1.0, 1.0, 1.0])
    affine[0, 3] = -0.75
    volume, grid = Volume(array, scaled()), Grid((6, 4, 4), affine)
    placed = place(volume, grid, -5, "linear")
    np.testing.assert_allclose(placed.array[:, 0, 0], (-5, 10, 12.5, 17.5, 20, -5))
    assert shared_by(volume, grid) == 1.0  # the scan lies wholly in the grid


def test_labels_take_the_nearest_value() -> None:
    label = np.zeros((9, 9, 9), np.uint8)
    label[3:6, 3:6, 3:6] = 4
    for affine in (scaled(), turned(30)):
        grid = study_grid((9, 9, 9), affine, 0.5)
        placed = place(Volume(label, affine), grid, 0, "nearest")
        assert placed.array.dtype == np.uint8
        assert set(np.unique(placed.array)) == {0, 4}
        volume_mm3 = np.count_nonzero(placed.array) * 0.5**3
        assert volume_mm3 == pytest.approx(27, rel=0.05)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_both_ways_of_interpolating_agree(interpolation: str) -> None:
    array = np.random.default_rng(0).random((9, 8, 7)).astype(np.float32)
    grid = Grid((12, 11, 10), scaled(0.83, (-1.1, -0.7, 0.4)))
    matrix = index_map(scaled(), grid)
    everything = ((0, 0, 0), grid.shape)
    first = separable(array, matrix, everything, 0.5, interpolation)  # type: ignore[arg-type]
    second = oblique(array, matrix, everything, 0.5, interpolation)  # type: ignore[arg-type]
    np.testing.assert_allclose(first, second, atol=1e-6)
    straight = Route(grid.shape, matrix, None, is_separable=True)
    tilted = Route(grid.shape, matrix, None, is_separable=False)
    assert shared_field(array.shape, straight) == shared_field(array.shape, tilted)
