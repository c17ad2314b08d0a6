"""Unpack gzip data: fast where that is sure to be right, else as the standard library does."""

from __future__ import annotations

import gzip
import zlib

import deflate

from brainmvp_lightning.volumes.errors import VolumeError

GZIP_MAGIC = b"\x1f\x8b"
AGAIN = "download or convert it again"

_PEEK_BYTES = 8192  # of compressed data; far more than a header of 540 bytes needs


def gunzip(content: bytes, file: str, expected_size: int | None = None) -> bytes | bytearray:
    """Return the unpacked content of all members.

    Args:
        content: Compressed data.
        file: Name for messages.
        expected_size: Bytes of the unpacked content if they are known; then it is unpacked in one
            go by libdeflate, several times as fast. That result counts only if the length and the
            checksum at the very end of `content` are those of the result: what follows a first
            member goes unnoticed only if it ends in the very same eight bytes, such as that
            member once more, and the result still has the expected size.

    Raises:
        VolumeError: If the data are damaged or end too early.
    """
    if expected_size:
        unpacked = _in_one_go(content, expected_size)
        if unpacked is not None:
            return unpacked
    try:
        return gzip.decompress(content)
    except EOFError as error:
        raise VolumeError(file, "its compressed data end too early", AGAIN) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise VolumeError(file, f"its compressed data are damaged ({error})", AGAIN) from error


def gunzip_start(content: bytes, num_bytes: int) -> bytes:
    """Return the first unpacked bytes, or what can be had of them; damage is no error here."""
    try:
        return zlib.decompressobj(wbits=31).decompress(content[:_PEEK_BYTES], num_bytes)
    except zlib.error:
        return b""


def _in_one_go(content: bytes, size: int) -> bytearray | None:
    checksum, stated = (int.from_bytes(content[a:b], "little") for a, b in ((-8, -4), (-4, None)))
    if stated != size:  # several members, something behind the data, or more than 4 GiB
        return None
    try:
        unpacked = deflate.gzip_decompress(content, size)
    except deflate.DeflateError:
        return None
    return unpacked if len(unpacked) == size and deflate.crc32(unpacked) == checksum else None
