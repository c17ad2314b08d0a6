"""Hidden blocks: exact counts, algorithm 1 to the bit, one mask for each key."""

import math

import numpy as np
import pytest
import torch

from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.masking.blocks import GridBlocks, RandomCubes
from brainmvp_lightning.masking.cubes import _expected_share, hide_until, num_candidates
from brainmvp_lightning.masking.registry import MASKING
from brainmvp_lightning.randomness import CountedRandom
from brainmvp_lightning.testing import check_masking

STRATEGIES = [GridBlocks(4, 0.75), RandomCubes(4, 0.75)]


def random(num: int, start: int = 0) -> CountedRandom:
    return CountedRandom(torch.arange(start, start + num))


def sequential_cubes(
    centres: np.ndarray, size: tuple[int, int, int], edge: int, ratio: float
) -> np.ndarray:
    """Algorithm 1 as written: one cube after the other until the union is large enough."""
    mask = np.zeros(size, bool)
    num_hidden = 0
    for centre in centres:
        start = centre - edge // 2
        cube = mask[tuple(slice(max(0, s), max(0, s + edge)) for s in start)]
        num_hidden += cube.size - cube.sum()
        cube[...] = True
        if num_hidden >= ratio * mask.size:
            return mask
    return np.ones(size, bool)


def test_names() -> None:
    assert MASKING.implementation("grid_blocks") is GridBlocks
    assert MASKING.implementation("random_cubes") is RandomCubes


def test_grid_blocks_hide_exactly_the_asked_share() -> None:
    mask = GridBlocks(block_size=4, ratio=0.875).draw((8, 8, 8), random(5))
    assert mask.shape == (5, 1, 8, 8, 8)
    assert mask.dtype == torch.bool
    assert mask.sum(dim=(1, 2, 3, 4)).tolist() == [7 * 4**3] * 5  # 7 of 8 blocks


def test_grid_blocks_hide_whole_blocks_of_the_grid() -> None:
    mask = GridBlocks(block_size=4, ratio=0.5).draw((8, 12, 16), random(3))
    blocks = mask.view(3, 2, 4, 3, 4, 4, 4).permute(0, 1, 3, 5, 2, 4, 6).flatten(4)
    assert torch.equal(blocks.all(dim=-1), blocks.any(dim=-1))
    assert blocks[..., 0].sum(dim=(1, 2, 3)).tolist() == [12] * 3  # of 24


@pytest.mark.parametrize(
    ("ratio", "rounding", "visible"),
    [
        (0.875, "nearest", 216),
        (0.875, "floor_visible", 216),  # of 1728 blocks of a 96^3 crop
        (0.8, "nearest", 346),  # 345.6
        (0.8, "floor_visible", 345),
        (0.0, "nearest", 1728),
        (1.0, "floor_visible", 0),
    ],
)
def test_grid_blocks_round_as_asked(ratio: float, rounding: str, visible: int) -> None:
    assert 1728 - GridBlocks(8, ratio, rounding).num_hidden(1728) == visible  # type: ignore[arg-type]


def test_binary_fractions_do_not_cost_a_block() -> None:
    assert GridBlocks(8, 0.8, "floor_visible").num_hidden(1000) == 800  # 1000 * (1 - 0.8) < 200


def test_grid_blocks_hide_every_block_equally_often() -> None:
    mask = GridBlocks(block_size=2, ratio=0.5).draw((4, 4, 4), random(4000))
    frequency = mask.float().mean(dim=0)
    assert (frequency - 0.5).abs().max() < 4 * math.sqrt(0.25 / 4000)


def test_grid_blocks_explain_a_size_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(96, 90, 96\).*crop size \(96, 88, 96\)"):
        GridBlocks(8).draw((96, 90, 96), random(1))


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_impossible_ratios_are_refused(ratio: float) -> None:
    for strategy in (GridBlocks, RandomCubes):
        with pytest.raises(ValueError, match="ratio must be"):
            strategy(8, ratio)
    with pytest.raises(ValueError, match="block_size is an edge"):
        GridBlocks(0)


@pytest.mark.parametrize(
    ("size", "edge", "ratio"),
    [
        ((16, 16, 16), 8, 0.875),
        ((20, 13, 9), 5, 0.6),
        ((12, 12, 12), 3, 0.95),
        ((8, 8, 8), 8, 0.5),
        ((7, 9, 11), 1, 0.3),
        ((9, 10, 8), 6, 0.01),
        ((24, 24, 24), 4, 0.875),
    ],
)
def test_random_cubes_equal_the_sequential_algorithm(
    size: tuple[int, int, int], edge: int, ratio: float
) -> None:
    strategy = RandomCubes(edge, ratio)
    masks = strategy.draw(size, random(4))
    centres = strategy.draw_centres(size, random(4)).numpy()
    for mask, order in zip(masks, centres, strict=True):
        assert np.array_equal(mask[0].numpy(), sequential_cubes(order, size, edge, ratio))


def test_more_cubes_than_16_bits_can_count_change_nothing() -> None:
    centres = RandomCubes(4, 0.9).draw_centres((16, 16, 16), random(2)).repeat(1, 100, 1)
    assert centres.shape[1] > 2**15
    few = hide_until(centres[:, :1000], (16, 16, 16), 4, 0.9)
    assert torch.equal(hide_until(centres, (16, 16, 16), 4, 0.9), few)


def test_random_cubes_may_share_a_centre() -> None:
    centres = torch.tensor([[[4, 4, 4], [4, 4, 4], [0, 0, 0]]])
    mask = hide_until(centres, (8, 8, 8), 2, 9 / 512)
    assert mask.sum() == 8 + 1  # the cube at 3..4, and the corner of one that is cut off
    assert mask[0, 0, 3:5, 3:5, 3:5].all()
    assert mask[0, 0, 0, 0, 0]


def test_random_cubes_stop_with_the_first_cube_that_reaches_the_share() -> None:
    mask = RandomCubes(8, 0.875).draw((48, 48, 48), random(8))
    share = mask.float().mean(dim=(1, 2, 3, 4))
    assert (share >= 0.875).all()
    assert (share < 0.875 + 8**3 / 48**3).all()


def test_random_cubes_hide_everything_if_the_cubes_run_out() -> None:
    centres = torch.tensor([[[2, 2, 2]], [[4, 4, 4]]])
    assert hide_until(centres, (8, 8, 8), 2, 0.5).all()


def test_enough_cubes_are_drawn() -> None:
    size, edge, ratio = (32, 32, 32), 8, 0.875
    strategy = RandomCubes(edge, ratio)
    masks = strategy.draw(size, random(300))
    assert not masks.flatten(1).all(dim=1).any()
    assert (masks.float().mean(dim=(1, 2, 3, 4)) < ratio + edge**3 / 32**3).all()


def test_number_of_cubes_is_the_measured_one() -> None:
    # 3,940 cubes on average at 96^3, not the 3,592 that a formula without borders gives.
    assert _expected_share((96, 96, 96), 8, 3940) == pytest.approx(0.875, abs=5e-4)
    assert 3940 + 10 * 43 < num_candidates((96, 96, 96), 8, 0.875) < 2**15


def test_random_cubes_explain_an_image_smaller_than_a_cube() -> None:
    with pytest.raises(ValueError, match=r"cubes of 8 voxels.*\(16, 4, 16\)"):
        RandomCubes(8).draw((16, 4, 16), random(1))


@pytest.mark.parametrize("name", MASKING.names())
def test_the_contract_is_kept(name: str) -> None:
    check_masking(MASKING.get(name)(4, 0.75))  # type: ignore[call-arg]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_different_keys_give_different_masks(strategy: Masking) -> None:
    assert len({mask.numpy().tobytes() for mask in strategy.draw((16, 16, 16), random(5))}) == 5
