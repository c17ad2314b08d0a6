"""Several data sets as one."""

from __future__ import annotations

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan


@ADAPTERS.register("collection")
class CollectionAdapter(Adapter):
    """All scans of several sources, for one cache; each source keeps its data set's name.

    Args:
        sources: Adapters, in the order in which their studies are prepared.
    """

    def __init__(self, sources: list[Adapter]) -> None:
        super().__init__()
        self.sources = sources
        self._done = 0

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans of all sources; see `Adapter.scans`.

        Raises:
            ValueError: If there are no sources, or some cannot be used, or two mean different
                things by one label scheme; all are listed.
            FileNotFoundError: If that is because they are not there.
        """
        if not self.sources:
            raise ValueError("the collection has no sources; list at least one under 'sources'")
        self.problems, self.label_schemes, self._done = [], {}, 0
        scans: list[Scan] = []
        faults: list[ValueError | OSError] = []
        for place, source in enumerate(self.sources, 1):
            self._pass_on(source)
            try:
                scans += source.scans(vocabulary)
            except (ValueError, OSError) as error:
                name = f"source {place} of {len(self.sources)} ({type(source).__name__})"
                kind = OSError if isinstance(error, OSError) else ValueError
                faults.append(kind(f"{name}: {error}"))
            self.problems += source.problems
            self._join_schemes(source, faults)
        if faults:
            kind = FileNotFoundError if isinstance(faults[0], OSError) else ValueError
            raise kind("; ".join(map(str, faults)))
        return scans

    def _join_schemes(self, source: Adapter, faults: list[ValueError | OSError]) -> None:
        for name, scheme in source.label_schemes.items():
            if self.label_schemes.setdefault(name, scheme) != scheme:
                fault = f"two sources mean different things by the label scheme {name!r}"
                faults.append(ValueError(f"{fault}; give each its own 'dataset'"))

    def _pass_on(self, source: Adapter) -> None:
        """Let a source report what it has done on top of what the sources before it did."""
        if self.progress is None:
            return
        report, before = self.progress, self._done

        def add(done: int, total: int) -> None:
            self._done = before + done
            report(before + done, before + total)

        source.progress = add
