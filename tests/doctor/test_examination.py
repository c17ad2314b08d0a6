import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from brainmvp_lightning.doctor import examination
from brainmvp_lightning.doctor.examination import Examiner, examine
from brainmvp_lightning.doctor.facts import StudyFacts
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.labels import label_schemes
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Study
from tests.doctor.cohort import clean_table


@dataclass(frozen=True)
class Killer(Examiner):
    """Ends its process at one patient, as the system does when memory is short."""

    def __call__(self, study: Study) -> StudyFacts:
        if study.patient == "p1":
            os._exit(9)
        return super().__call__(study)


def studies(root: Path) -> list[Study]:
    manifest = Manifest.read(clean_table(root), ModalityVocabulary())
    return manifest.validate().studies()


def test_a_killed_process_costs_one_study(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    killer = Killer(Recipe(), label_schemes(), quick=True)
    found = examine(studies(tmp_path), killer, 2, lambda done, total: calls.append((done, total)))
    assert [facts.patient for facts in found] == ["p0", "p1", "p2"]
    assert [len(facts.scans) for facts in found] == [2, 0, 2]
    (finding,) = found[1].findings
    assert (finding.kind, finding.severity) == ("killed", "error")
    assert calls[0] == (0, 3)
    assert calls[-1] == (3, 3)


def test_a_fault_of_ours_costs_one_study_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = examination.look_at_scan

    def fail(scan: object, study: str, *more: object, **options: object) -> object:
        if study.endswith("p1"):
            raise RuntimeError("surprise")
        return look(scan, study, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(examination, "look_at_scan", fail)
    found = examine(studies(tmp_path), Examiner(Recipe(), label_schemes(), quick=True), 1)
    assert [len(facts.findings) for facts in found] == [0, 1, 0]
    assert found[1].findings[0].kind == "failed"
    assert "RuntimeError: surprise" in found[1].findings[0].sentence
