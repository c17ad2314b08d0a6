"""Look at all studies, in several processes, and never be stopped by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from brainmvp_lightning.doctor.facts import LabelFacts, StudyFacts
from brainmvp_lightning.doctor.findings import Finding
from brainmvp_lightning.doctor.geometry import (
    check_places,
    check_spacing,
    grid_of,
    needs_resampling,
)
from brainmvp_lightning.doctor.labels import check_files, check_mask, look_at_label
from brainmvp_lightning.doctor.reading import Seen, look_at_scan
from brainmvp_lightning.preprocessing.executors import start_pool
from brainmvp_lightning.preprocessing.geometry import Grid
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.labels import LabelScheme
from brainmvp_lightning.studies.study import Study

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Examiner:
    """Looks at one study; travels to worker processes.

    Args:
        recipe: How the studies will be prepared.
        schemes: Label schemes by name.
        quick: Read headers only, and no labels.
    """

    recipe: Recipe
    schemes: Mapping[str, LabelScheme]
    quick: bool

    def __call__(self, study: Study) -> StudyFacts:
        """Look at the study; any fault becomes a finding."""
        try:
            return self._examine(study)
        except Exception as error:  # noqa: BLE001 - one study must not end a long job; it is listed
            text = f"looking at it failed ({type(error).__name__}: {error})"
            fix = "leave the study out, and report this fault"
            finding = Finding("failed", "error", study.id, str(study.scans[0].path), text, fix)
            return without_scans(study, [finding])

    def _examine(self, study: Study) -> StudyFacts:
        seen, findings = self._look_at_scans(study)
        if not seen:
            return without_scans(study, findings)
        scans = [one.facts for one in seen]
        facts, places = check_places(scans, study.id, self.recipe)
        grid = grid_of(facts, self.recipe)
        reference = seen[scans.index(facts)]
        label, more = self._look_at_label(study, reference, grid)
        return StudyFacts(
            *_names(study),
            scans=tuple(scans),
            label=label,
            reference=reference.facts.modality,
            grid_shape=grid.shape,
            resampled=tuple(scan.modality for scan in scans if needs_resampling(scan, grid)),
            findings=(*findings, *places, *more),
        )

    def _look_at_scans(self, study: Study) -> tuple[list[Seen], list[Finding]]:
        seen, findings = [], []
        for scan in study.scans:
            found, more = look_at_scan(scan, study.id, self.recipe, quick=self.quick)
            findings += more
            if found is not None:
                findings += check_spacing(found.facts, study.id)
                seen.append(found)
        return seen, findings

    def _look_at_label(
        self, study: Study, reference: Seen, grid: Grid
    ) -> tuple[LabelFacts | None, list[Finding]]:
        masks = {scan.brain_mask for scan in study.scans if scan.brain_mask is not None}
        if self.quick:
            labels = [] if study.label is None else [study.label]
            return None, check_files([*labels, *sorted(masks)], study.id)
        findings = [
            found for mask in sorted(masks) for found in check_mask(mask, study.id, self.recipe)
        ]
        if study.label is None:
            return None, findings
        label, more = look_at_label(study, self.schemes, reference, grid, self.recipe)
        return label, findings + more


def without_scans(study: Study, findings: Sequence[Finding]) -> StudyFacts:
    """Return what is known of a study of which no scan can be used."""
    return StudyFacts(*_names(study), (), None, "", (0, 0, 0), (), tuple(findings))


def _names(study: Study) -> tuple[str, str, str, str, str, str | None, str | None]:
    return (
        study.id,
        study.dataset,
        study.patient,
        study.session,
        study.split,
        study.target_class,
        study.label_scheme,
    )


def examine(
    studies: Sequence[Study], examiner: Examiner, workers: int, progress: Progress | None = None
) -> list[StudyFacts]:
    """Look at all studies; a process that dies costs the study that killed it and no other.

    Args:
        studies: What to look at.
        examiner: How.
        workers: Processes; with 1, everything happens in this one.
        progress: Called with (done, total).

    Returns:
        In the order of `studies`.
    """
    found: dict[str, StudyFacts] = {}
    report = progress or _say_nothing
    report(0, len(studies))
    for facts in _results(studies, examiner, workers):
        found[facts.id] = facts
        report(len(found), len(studies))
    return [found[study.id] for study in studies]


def _say_nothing(done: int, total: int) -> None:
    pass


def _results(studies: Sequence[Study], examiner: Examiner, workers: int) -> Iterator[StudyFacts]:
    if workers <= 1 or len(studies) <= 1:
        yield from map(examiner, studies)
        return
    waiting = list(reversed(studies))
    while waiting:
        suspects: list[Study] = []
        yield from _until_broken(waiting, suspects, examiner, workers)
        for study in suspects:
            yield _alone(study, examiner)


def _until_broken(
    waiting: list[Study], suspects: list[Study], examiner: Examiner, workers: int
) -> Iterator[StudyFacts]:
    """Yield results and empty `waiting`; what was under way when a process died is suspect."""
    under_way: dict[Future[StudyFacts], Study] = {}
    with start_pool(workers) as pool:
        while waiting or under_way:
            try:
                # Few at a time: ten thousand pending studies would be copied at once.
                while waiting and len(under_way) < 2 * workers:
                    under_way[pool.submit(examiner, waiting[-1])] = waiting[-1]
                    waiting.pop()
            except BrokenProcessPool:
                suspects += under_way.values()
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                study = under_way.pop(future)
                if future.exception() is None:
                    yield future.result()
                else:
                    suspects.append(study)
            if suspects:
                suspects += under_way.values()
                return


def _alone(study: Study, examiner: Examiner) -> StudyFacts:
    with start_pool(1) as pool:
        try:
            return pool.submit(examiner, study).result()
        except BrokenProcessPool:
            text = "the process that read it was killed, most likely for lack of memory"
            fix = "check the size of its files, free some memory, or leave it out"
            finding = Finding("killed", "error", study.id, str(study.scans[0].path), text, fix)
            return without_scans(study, [finding])
