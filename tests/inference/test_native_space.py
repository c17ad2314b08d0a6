"""What is predicted on the grid of a study comes back to the voxels of a file."""

import tracemalloc

import numpy as np
import pytest

from brainmvp_lightning.inference.decisions import Labelling, fitting_schemes
from brainmvp_lightning.inference.native_space import restore
from brainmvp_lightning.studies.labels import LabelScheme, find_scheme, label_schemes
from tests.inference.tiny_networks import affine_of, describe, grid_places, rotated

GRID = affine_of("RAS", (1, 1, 1), (18, 20, 16))


def random_probabilities(channels: int = 3, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).random((channels, 18, 20, 16)).astype(dtype)


def first(probabilities: np.ndarray) -> np.ndarray:
    return probabilities[0]


def linear(places: np.ndarray) -> np.ndarray:
    return (places @ (0.01, -0.02, 0.015) + 0.5).astype(np.float32)


@pytest.mark.parametrize("axcodes", ["RAS", "LAS", "LPS", "PIR", "SLA", "IPR"])
@pytest.mark.parametrize("shift", [(0, 0, 0), (3, -2, 5)])
def test_swapped_mirrored_and_shifted_grids_get_every_voxel_bit_by_bit(
    axcodes: str, shift: tuple[int, int, int]
) -> None:
    probabilities = random_probabilities(1)
    shape = (21, 17, 22)
    affine = affine_of(axcodes, (1, 1, 1), shape)
    affine[:3, 3] += shift
    restored = restore(probabilities, GRID, affine, shape, first, outside=[-1.0])
    voxels = np.rint(grid_places(np.linalg.inv(GRID) @ affine, shape)).astype(int)
    inside = ((voxels >= 0) & (voxels < (18, 20, 16))).all(axis=-1)
    x, y, z = voxels[inside].T
    assert inside.sum() > 1000
    np.testing.assert_array_equal(restored[inside], probabilities[0, x, y, z])
    assert (restored[~inside] == -1).all()


@pytest.mark.parametrize(
    ("axcodes", "spacing", "degrees"),
    [("RAS", (0.5, 2, 1.3), 0), ("LPS", (1.5, 0.7, 3), 0), ("PIR", (1, 1, 2), 25)],
)
def test_a_linear_ramp_stays_linear_on_any_grid(
    axcodes: str, spacing: tuple[float, float, float], degrees: float
) -> None:
    ramp = linear(grid_places(GRID, (18, 20, 16)))[None]
    shape = (16, 15, 14)
    affine = rotated(affine_of(axcodes, spacing, shape), degrees)
    restored = restore(ramp, GRID, affine, shape, first, outside=[9.0])
    places = grid_places(affine, shape)
    voxels = grid_places(np.linalg.inv(GRID) @ affine, shape)
    last = np.array((17, 19, 15))
    centres = ((voxels >= 0) & (voxels <= last)).all(axis=-1)
    np.testing.assert_allclose(restored[centres], linear(places)[centres], atol=1e-5)
    beyond = ((voxels < -0.51) | (voxels > last + 0.51)).any(axis=-1)
    assert (restored[beyond] == 9).all()
    assert centres.sum() > 300
    assert beyond.sum() > 100


@pytest.mark.parametrize("degrees", [0, 20])
def test_slabs_give_what_one_pass_gives(degrees: float) -> None:
    probabilities = random_probabilities(dtype=np.float16)
    shape = (25, 23, 21)
    affine = rotated(affine_of("PIR", (0.9, 1.1, 0.8), shape), degrees)
    labelling = Labelling(("a", "b", "c"), (0, 1, 2))
    once, thin = (
        restore(probabilities, GRID, affine, shape, labelling, slab_bytes=size)
        for size in (2**30, 1)
    )
    np.testing.assert_array_equal(once, thin)
    assert once.dtype == np.uint8
    assert set(np.unique(once)) == {0, 1, 2}


@pytest.mark.parametrize("degrees", [0, 10])
def test_memory_stays_bounded_for_a_large_file(degrees: float) -> None:
    channels, shape = 4, (96, 96, 96)
    probabilities = np.zeros((channels, 24, 24, 24), np.float32)
    grid = affine_of("RAS", (4, 4, 4), (24, 24, 24))
    affine = rotated(affine_of("LAS", (1, 1, 1), shape), degrees)
    slab_bytes = 2**19
    tracemalloc.start()
    restored = restore(
        probabilities,
        grid,
        affine,
        shape,
        Labelling(("a", "b", "c", "d"), (0, 1, 2, 3)),
        slab_bytes=slab_bytes,
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert restored.shape == shape
    one_channel = probabilities[0].nbytes
    # One pass would take 14 MB for probabilities alone; this is below 4 MB.
    assert peak < restored.nbytes + 4 * slab_bytes + 4 * one_channel


def test_a_file_beside_the_study_is_all_background() -> None:
    far = affine_of("RAS", (1, 1, 1), (9, 9, 9))
    far[:3, 3] += 500
    labelling = Labelling(("background", "lesion"), (0, 4))
    answer = np.ones((2, 18, 20, 16), np.float32)
    restored = restore(answer, GRID, far, (9, 9, 9), labelling, outside=labelling.outside)
    assert not restored.any()


def test_a_study_one_voxel_thin_cannot_be_turned() -> None:
    thin = np.ones((1, 1, 6, 5), np.float32)
    straight = restore(thin, GRID, GRID, (3, 6, 5), first)
    assert straight[0].min() == 1
    assert straight[1:].max() == 0
    with pytest.raises(ValueError, match=r"\[1, 6, 5\] voxels is too thin"):
        restore(thin, GRID, rotated(GRID, 15), (3, 6, 5), first)


def test_registration_is_undone() -> None:
    moved = np.eye(4)
    moved[:3, 3] = (4, -3, 2)  # what registration did to the file
    probabilities = random_probabilities(1)
    affine = np.linalg.inv(moved) @ GRID
    restored = restore(probabilities, GRID, moved @ affine, (18, 20, 16), first)
    np.testing.assert_array_equal(restored, probabilities[0])


NESTED = describe(
    num_outputs=3,
    overlapping=True,
    region_names=("ET", "TC", "WT"),
    label_names=("background", "ED", "NCR", "ET"),
    label_regions=((), ("WT",), ("TC", "WT"), ("ET", "TC", "WT")),
)


@pytest.mark.parametrize(
    ("chances", "value"),
    [
        ((0.1, 0.2, 0.3), 0),
        ((0.1, 0.2, 0.7), 1),
        ((0.1, 0.6, 0.7), 2),
        ((0.9, 0.6, 0.7), 3),
        ((0.9, 0.4, 0.9), 3),  # ET without TC: nearer to all three than to WT alone
        ((0.6, 0.1, 0.9), 1),
        ((0.1, 0.9, 0.4), 2),
        ((0.0, 0.0, 1.0), 1),
        ((0.5, 0.5, 0.5), 0),
    ],
)
def test_regions_become_the_class_that_has_them_or_the_most_probable(
    chances: tuple[float, float, float], value: int
) -> None:
    voxel = np.array(chances, np.float32)[:, None, None, None]
    assert Labelling.of(NESTED)(voxel).item() == value


def test_exclusive_classes_become_the_most_probable() -> None:
    chances = np.array([[0.2, 0.4], [0.5, 0.3], [0.3, 0.3]], np.float32)[:, :, None, None]
    labelling = Labelling(("background", "a", "b"), (0, 1, 300))
    assert labelling(chances).flatten().tolist() == [1, 0]
    assert labelling(chances).dtype == np.uint16


def test_labels_can_have_the_values_of_a_scheme() -> None:
    labelling = Labelling.of(NESTED, find_scheme("brats2021", label_schemes()))
    assert labelling.values == (0, 2, 1, 4)
    both = describe(
        label_names=("background", "ED/SNFH"), label_regions=((), ("WT",)), region_names=("WT",)
    )
    assert Labelling.of(both, LabelScheme("x", {"SNFH": 7}, {"WT": ("SNFH",)})).values == (0, 7)


def test_structures_of_other_names_are_found_by_their_regions() -> None:
    schemes = label_schemes()
    # NESTED has ED, NCR, ET; SNFH alone is in WT only, and NET alone in TC and WT.
    assert Labelling.of(NESTED, schemes["brats2023"]).values == (0, 2, 1, 3)
    assert Labelling.of(NESTED, schemes["msd_brats"]).values == (0, 1, 2, 3)
    assert fitting_schemes(NESTED, schemes.values()) == {
        "brats2021": (0, 2, 1, 4),
        "brats2023": (0, 2, 1, 3),
        "msd_brats": (0, 1, 2, 3),
        "demo": (0, 2, 1, 3),
    }


@pytest.mark.parametrize(
    ("scheme", "sentence"),
    [
        ("lesion", "has none of that name"),
        ("brats2024_ped", "cannot name the model's structure 'NCR'"),
    ],
)
def test_a_scheme_of_other_structures_is_refused(scheme: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Labelling.of(NESTED, find_scheme(scheme, label_schemes()))


def test_a_scheme_that_splits_or_regroups_a_structure_is_refused() -> None:
    brain = describe(label_names=("background", "a/b"), label_regions=((), ("GM",)))
    with pytest.raises(ValueError, match="splits it into a, b"):
        Labelling.of(brain, LabelScheme("x", {"a": 1, "b": 2}, {"GM": ("a", "b")}))
    with pytest.raises(ValueError, match="counts 'a' to WM, the model to GM"):
        Labelling.of(brain, LabelScheme("x", {"a": 1}, {"WM": ("a",)}))


def test_a_model_without_names_writes_no_labels() -> None:
    with pytest.raises(ValueError, match="does not name the structures"):
        Labelling.of(describe(label_names=(), label_regions=()))
