"""What was wrong with a file, and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One sentence about one file.

    Args:
        study: Id of the study, or what is known of it; may be empty.
        file: The file at fault.
        reason: What is wrong.
        remedy: What the user can do.
        is_handled: The file is used all the same; otherwise it was set aside.
    """

    study: str
    file: str
    reason: str
    remedy: str
    is_handled: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}; {self.remedy}"
