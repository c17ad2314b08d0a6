"""Surface distances in mm against values worked out by hand, and against MONAI."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance
from scipy.ndimage import gaussian_filter

from brainmvp_lightning.evaluation import surface
from brainmvp_lightning.evaluation.surface import hd95, surface_distances

SHAPE = (20, 18, 16)


def cube(start: tuple[int, int, int], side: int = 4) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(one, one + side) for one in start)] = True
    return mask


def blobs(seed: int, share: float = 0.2) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    return field > np.quantile(field, 1 - share)


def monai_hd95(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]) -> float:
    first, second = (torch.from_numpy(mask)[None, None] for mask in (prediction, truth))
    value = compute_hausdorff_distance(
        first, second, include_background=True, percentile=95, spacing=list(spacing)
    )
    return float(value)


def test_a_cube_shifted_by_three_voxels_of_two_mm_is_six_mm_away() -> None:
    # 16 of the 56 surface voxels lie on the far face, 6 mm from the other cube: more than 5 %.
    assert hd95(cube((8, 8, 8)), cube((5, 8, 8)), (2.0, 1.0, 1.0)) == 6.0
    assert hd95(cube((8, 8, 8)), cube((8, 8, 5)), (1.0, 1.0, 2.0)) == 6.0


def test_single_voxels_are_as_far_apart_as_their_centres() -> None:
    first, second = cube((1, 2, 3), 1), cube((4, 6, 3), 1)
    assert hd95(first, second, (1.0, 1.0, 1.0)) == 5.0
    assert hd95(first, second, (2.0, 0.5, 9.0)) == pytest.approx(math.hypot(6, 2))


def test_the_percentile_is_linear_between_ranks_and_the_larger_direction_counts() -> None:
    truth = np.zeros((40, 1, 1), bool)
    truth[0] = True
    prediction = truth.copy()
    prediction[[10, 20, 30]] = True
    # Distances 0 10 20 30: rank 0.95 * 3 = 2.85, hence 20 + 0.85 * 10; the other way it is 0.
    assert hd95(prediction, truth, (1.0, 1.0, 1.0)) == pytest.approx(28.5)
    assert hd95(truth, prediction, (1.0, 1.0, 1.0)) == pytest.approx(28.5)


def test_voxels_at_the_border_of_the_image_are_surface() -> None:
    full = np.ones((5, 5, 5), bool)
    assert surface.surface(full).sum() == 5**3 - 3**3


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI 1.6 itself
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 5.0), (3.0, 0.5, 0.9)])
@pytest.mark.parametrize("seed", range(4))
def test_hd95_equals_that_of_monai(seed: int, spacing: tuple[float, float, float]) -> None:
    prediction, truth = blobs(seed), blobs(seed + 100, 0.05)
    expected = monai_hd95(prediction, truth, spacing)
    assert hd95(prediction, truth, spacing) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sparse", [0, 10**9])
def test_tree_and_map_find_the_same_distances_in_any_pieces(
    sparse: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = surface_distances(blobs(1), blobs(2), (0.7, 1.3, 5.0))
    monkeypatch.setattr(surface, "_SPARSE", sparse)
    monkeypatch.setattr(surface, "_PIECE", 100)
    forced = surface_distances(blobs(1), blobs(2), (0.7, 1.3, 5.0))
    for one, other in zip(usual, forced, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_memory_follows_the_regions_not_the_image() -> None:
    truth = np.zeros((160, 160, 160), bool)
    truth[70:80, 70:80, 70:80] = True
    prediction = np.roll(truth, 1, 0)
    tracemalloc.start()
    hd95(prediction, truth, (1.0, 1.0, 1.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < truth.size / 4  # a single map of the image would be 8 times its size


def test_an_empty_region_has_no_surface() -> None:
    with pytest.raises(ValueError, match="EmptyRule"):
        hd95(np.zeros(SHAPE, bool), cube((1, 1, 1)), (1.0, 1.0, 1.0))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shift=st.tuples(*[st.integers(0, 4)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * 3),
)
def test_hd95_is_symmetric_and_does_not_depend_on_the_place(
    seed: int, shift: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    small = np.random.default_rng(seed).random((2, 6, 6, 6)) < 0.3
    small[:, 2, 2, 2] = True
    image = np.zeros((2, 10, 10, 10), bool)
    x, y, z = shift
    image[:, x : x + 6, y : y + 6, z : z + 6] = small
    value = hd95(small[0], small[1], spacing)
    assert hd95(small[1], small[0], spacing) == value
    assert hd95(image[0], image[1], spacing) == value
    assert hd95(small[0], small[0], spacing) == 0
