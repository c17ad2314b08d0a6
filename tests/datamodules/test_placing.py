"""Crops lie where they were asked to, and always the same way for the same visit."""

from dataclasses import replace

import numpy as np
import pytest

from brainmvp_lightning.batches import Size
from brainmvp_lightning.datamodules.placing import check_centre, place_crops
from brainmvp_lightning.volumes.blocks import encode_blocks
from brainmvp_lightning.volumes.cache import Cache, CachedStudy

SHAPE = (40, 30, 20)
SIZE = (8, 8, 8)


@pytest.fixture
def study(cache: Cache) -> CachedStudy:
    """A head in the two blocks at the low end of x, y and z of a box of 5 x 4 x 3 blocks."""
    head = np.zeros(SHAPE, np.bool_)
    head[0:16, 0:8, 0:8] = True
    return replace(cache.studies[0], shape=SHAPE, head_blocks=encode_blocks(head))


def starts(study: CachedStudy, centre: object, size: Size = SIZE, num: int = 400) -> np.ndarray:
    return np.array(place_crops(7, study, size, centre, num))  # type: ignore[arg-type]


def test_crops_in_the_box_lie_anywhere_in_it(study: CachedStudy) -> None:
    places = starts(study, "box", num=2000)
    assert places.min(axis=0).tolist() == [0, 0, 0]
    assert places.max(axis=0).tolist() == [32, 22, 12]
    assert places.mean(axis=0) == pytest.approx([16, 11, 6], abs=1)


def test_crops_on_the_head_are_centred_on_its_voxels(study: CachedStudy) -> None:
    centres = starts(study, "foreground") + 4
    assert (centres < [16, 8, 8]).all()
    assert centres.min(axis=0).tolist() == [4, 4, 4]  # moved to stay inside the box
    assert centres.max(axis=0).tolist() == [15, 7, 7]
    assert (starts(study, 1.0) + 4 < [16, 8, 8]).all()


def test_a_number_is_the_share_of_crops_on_the_head(study: CachedStudy) -> None:
    # A voxel on the head is at most (15, 7, 7); one beside it is beyond, along one axis at least.
    on_head = ((starts(study, 0.5, num=1000) + 4) <= [15, 7, 7]).all(axis=1)
    assert on_head.mean() == pytest.approx(0.5, abs=0.05)
    assert not ((starts(study, 0.0) + 4) <= [15, 7, 7]).all(axis=1).any()


def test_crops_stay_inside_the_box_and_are_centred_where_it_is_smaller(study: CachedStudy) -> None:
    for centre in ("box", "foreground", 0.5):
        places = starts(study, centre, size=(16, 36, 20))
        assert (places[:, 0] >= 0).all()
        assert (places[:, 0] <= 24).all()
        assert (places[:, 1] == -3).all()
        assert (places[:, 2] == 0).all()


def test_where_nobody_noted_the_head_the_box_counts(study: CachedStudy) -> None:
    unknown = replace(study, head_blocks="")
    assert starts(unknown, "foreground", num=2000).max(axis=0).tolist() == [32, 22, 12]
    full = replace(study, head_blocks=encode_blocks(np.ones(SHAPE, np.bool_)))
    assert starts(full, 0.0, num=2000).max(axis=0).tolist() == [32, 22, 12]


def test_places_depend_on_the_visit_alone(study: CachedStudy) -> None:
    first = place_crops(7, study, SIZE, 0.5, 4)
    assert place_crops(7, study, SIZE, 0.5, 4) == first
    assert place_crops(7, study, SIZE, 0.5, 2) == first[:2]
    assert place_crops(8, study, SIZE, 0.5, 4) != first
    assert len(set(first)) == 4


@pytest.mark.parametrize("centre", ["head", 1.5, -0.1])
def test_what_is_no_place_is_refused(centre: object) -> None:
    with pytest.raises(ValueError, match="crop_centre"):
        check_centre(centre)  # type: ignore[arg-type]
