import gzip
import zlib

import numpy as np
import pytest

from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.gunzip import gunzip, gunzip_start

TEXT = np.random.default_rng(0).integers(0, 20, 5000).astype(np.uint8).tobytes()
PACKED = gzip.compress(TEXT, mtime=0)


def with_trailer(crc: int, size: int) -> bytes:
    return PACKED[:-8] + crc.to_bytes(4, "little") + size.to_bytes(4, "little")


def test_a_known_size_is_unpacked_in_one_go() -> None:
    assert isinstance(gunzip(PACKED, "x", len(TEXT)), bytearray)
    assert gunzip(PACKED, "x", len(TEXT)) == TEXT
    assert gunzip(PACKED, "x") == TEXT


@pytest.mark.parametrize("size", [1, len(TEXT) - 1, len(TEXT) + 1, 2**32 + len(TEXT), -5])
def test_a_size_that_is_wrong_does_no_harm(size: int) -> None:
    assert gunzip(PACKED, "x", size) == TEXT


@pytest.mark.parametrize("size", [len(TEXT), len(TEXT) + 3, 3])
def test_all_members_count(size: int) -> None:
    assert gunzip(PACKED + gzip.compress(b"end"), "x", size) == TEXT + b"end"


def test_a_second_member_of_the_same_length_is_not_forgotten() -> None:
    other = gzip.compress(TEXT[::-1], mtime=0)
    assert gunzip(PACKED + other, "x", len(TEXT)) == TEXT + TEXT[::-1]


def test_zeros_behind_the_data_are_padding() -> None:
    assert gunzip(PACKED + bytes(512), "x", len(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PACKED[:-1], "end too early"),
        (PACKED[:-8], "end too early"),
        (PACKED[: len(PACKED) // 2], "end too early"),
        (PACKED[:12], "end too early"),
        (PACKED + b"garbage", "damaged"),
        (PACKED + PACKED[:-5], "end too early"),
        (with_trailer(zlib.crc32(TEXT) ^ 1, len(TEXT)), "damaged"),
        (with_trailer(zlib.crc32(TEXT), len(TEXT) + 1), "damaged"),
        (PACKED[:40] + bytes([PACKED[40] ^ 4]) + PACKED[41:], "compressed data"),
    ],
)
@pytest.mark.parametrize("size", [None, len(TEXT), len(TEXT) + 1])
def test_damage_is_named_whatever_size_is_expected(
    content: bytes, words: str, size: int | None
) -> None:
    with pytest.raises(VolumeError, match=f"^x: its compressed data .*{words}|{words}"):
        gunzip(content, "x", size)


def test_every_flipped_bit_is_noticed_or_changes_nothing() -> None:
    for place in range(0, 8 * len(PACKED), 41):
        content = bytearray(PACKED)
        content[place // 8] ^= 1 << place % 8
        assert _unpacked_or_named(bytes(content)) in (TEXT, "named")


def _unpacked_or_named(content: bytes) -> bytes | str:
    try:
        return bytes(gunzip(content, "x", len(TEXT)))
    except VolumeError as error:
        return "named" if "compressed data" in error.reason else error.reason


def test_the_start_is_had_without_the_rest() -> None:
    assert gunzip_start(PACKED, 100) == TEXT[:100]
    assert gunzip_start(PACKED[:400], 100) == TEXT[:100]
    assert gunzip_start(b"\x1f\x8bnonsense", 100) == b""


def test_the_same_member_twice_still_has_the_expected_size() -> None:
    assert gunzip(PACKED + PACKED, "x", len(TEXT)) == TEXT
    assert gunzip(PACKED + PACKED, "x") == TEXT + TEXT
