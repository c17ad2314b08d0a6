"""Parts of a job that run on several machines at once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One part of a job; all parts agree, without talking, on who does which study.

    Args:
        index: Which part, counted from 1.
        count: Number of parts.

    Raises:
        ValueError: If there is no such part.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(
                f"shard {self.index}/{self.count} does not exist; parts are counted from 1, such "
                "as 1/8 to 8/8 (sbatch --array=1-8)"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that ``2/8`` names.

        Raises:
            ValueError: If the text names none.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if found is None:
            raise ValueError(
                f"shard {text!r} must look like 2/8; in a job array of SLURM give "
                "${SLURM_ARRAY_TASK_ID}/${SLURM_ARRAY_TASK_COUNT}"
            )
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        """Fit for a file name, such as ``2-of-8``."""
        return f"{self.index}-of-{self.count}"

    def takes(self, study: str) -> bool:
        """Tell whether a study belongs to this part; it depends on nothing but its id."""
        number = int.from_bytes(hashlib.blake2b(study.encode(), digest_size=8).digest(), "big")
        return number % self.count == self.index - 1
