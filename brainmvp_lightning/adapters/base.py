"""Contract of an adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan


class Adapter(ABC):
    """Knows how one kind of data set names its files; the only place that parses paths.

    Attributes:
        problems: Files that `scans` set aside, each with a sentence.
        progress: Called with (done, total) by adapters that take long.
        label_schemes: Schemes of annotations that the data set brings along, by name, each with
            plain ``values`` and ``regions``; filled by `scans`.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.progress: Callable[[int, int], None] | None = None
        self.label_schemes: dict[str, Any] = {}

    @abstractmethod
    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of the data set; files that cannot be used go to `problems`.

        Args:
            vocabulary: Modality names that count.

        Raises:
            FileNotFoundError: If the data set is not there.
            ValueError: If it cannot be used as a whole.
        """
