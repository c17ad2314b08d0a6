"""Memory that the process keeps, because asking for it again costs more than holding it."""

from __future__ import annotations

import ctypes
from functools import cache

# Names and numbers of malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_FROM_HEAP = 32 * 2**20  # bytes, the most that glibc allows
_KEPT = 256 * 2**20  # bytes


@cache
def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory; return whether it could be told.

    By default glibc gives blocks of some ten megabytes back to the system at once, and takes them
    again, page by page, for the next volume. That was a sixth of the time of a study.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    is_set = [
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP),
        mallopt(_M_TRIM_THRESHOLD, _KEPT),
    ]
    return all(is_set)
