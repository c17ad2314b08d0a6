"""What can be wrong with a file of images."""

from __future__ import annotations


class VolumeError(ValueError):
    """An image file that cannot be used; the message names file, fault and remedy.

    Args:
        file: The file at fault.
        reason: What is wrong, without the file's name.
        remedy: What the user can do.
    """

    def __init__(self, file: str, reason: str, remedy: str) -> None:
        super().__init__(file, reason, remedy)
        self.file = file
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}; {self.remedy}"


class CacheError(RuntimeError):
    """A cache folder that cannot be used as asked."""


class DamagedFrameError(CacheError):
    """A stored volume whose bytes are not those that were written."""


class CacheWriteError(CacheError):
    """The cache could not be written, for example because the disk is full."""
