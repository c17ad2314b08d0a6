from pathlib import Path

import pytest

from brainmvp_lightning.adapters.synthetic import SyntheticAdapter
from brainmvp_lightning.studies.modality import ModalityVocabulary


@pytest.mark.slow
def test_the_cohort_is_made_once_and_read_as_bids(tmp_path: Path) -> None:
    adapter = SyntheticAdapter(str(tmp_path / "demo"), num_studies=1, spacing_mm=8.0, workers=1)
    calls: list[tuple[int, int]] = []
    adapter.progress = lambda done, total: calls.append((done, total))
    scans = adapter.scans(ModalityVocabulary())
    assert scans
    assert {(scan.dataset, scan.patient) for scan in scans} == {("demo", "001")}
    assert all(scan.path.is_file() and scan.label is not None for scan in scans)
    assert adapter.problems == []
    assert calls[-1] == (1, 1)
    before = {scan.path: scan.path.stat().st_mtime_ns for scan in scans}
    assert adapter.scans(ModalityVocabulary()) == scans
    assert {path: path.stat().st_mtime_ns for path in before} == before
