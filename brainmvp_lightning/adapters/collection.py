"""Several data sets as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan, study_id


@ADAPTERS.register("collection")
class CollectionAdapter(Adapter):
    """All scans of several sources, for one cache; each source keeps its data set's name.

    No two sources can have the same visit of the same patient: one name of a data set would make
    one patient of two people.

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
                things by one label scheme or have the same patients; all are listed.
            FileNotFoundError: If that is because they are not there.
        """
        if not self.sources:
            raise ValueError("the collection has no sources; list at least one under 'sources'")
        self.problems, self.label_schemes, self._done = [], {}, 0
        scans: list[Scan] = []
        owners: dict[tuple[str, str, str], str] = {}
        faults: list[ValueError | OSError] = []
        for place, source in enumerate(self.sources, 1):
            self._pass_on(source)
            name = f"source {place} of {len(self.sources)} ({type(source).__name__})"
            try:
                found = source.scans(vocabulary)
                scans += found
                faults += _shared_studies(found, name, owners)
            except (ValueError, OSError) as error:
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


def _shared_studies(
    scans: Iterable[Scan], source: str, owners: dict[tuple[str, str, str], str]
) -> list[ValueError]:
    """Return a fault for each source before that has studies of the same names.

    Args:
        scans: What a source found.
        source: How to call it.
        owners: Source by study; those of this source are added.
    """
    shared: dict[str, list[str]] = defaultdict(list)
    for key in dict.fromkeys((scan.dataset, scan.patient, scan.session) for scan in scans):
        owner = owners.setdefault(key, source)
        if owner != source:
            shared[owner].append(study_id(*key))
    return [
        ValueError(
            f"{owner} and {source} both have {'; '.join(names[:3])} (studies in both: "
            f"{len(names)}); give each its own 'dataset'"
        )
        for owner, names in shared.items()
    ]
