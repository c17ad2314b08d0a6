import numpy as np
import pytest

from brainmvp_lightning.volumes.blocks import decode_blocks, encode_blocks, occupied_blocks


def test_blocks_with_a_voxel_come_back_in_order() -> None:
    mask = np.zeros((17, 8, 20), np.bool_)
    mask[0, 0, 0] = mask[16, 7, 19] = mask[7, 3, 8] = True
    found = decode_blocks(encode_blocks(mask), mask.shape)
    assert found.tolist() == [[0, 0, 0], [0, 0, 1], [2, 0, 2]]


def test_block_is_occupied_exactly_where_a_voxel_is_not_zero() -> None:
    labels = np.random.default_rng(0).integers(0, 400, (13, 21, 9)) == 7
    blocks = occupied_blocks(labels)
    assert blocks.shape == (2, 3, 2)
    for i, j, k in np.ndindex(blocks.shape):
        part = labels[8 * i : 8 * i + 8, 8 * j : 8 * j + 8, 8 * k : 8 * k + 8]
        assert blocks[i, j, k] == part.any()


def test_empty_text_is_no_block_and_wrong_shape_is_refused() -> None:
    assert decode_blocks("", (9, 9, 9)).shape == (0, 3)
    text = encode_blocks(np.ones((32, 32, 32), np.bool_))
    with pytest.raises(ValueError, match="do not fit"):
        decode_blocks(text, (99, 99, 99))
