from pathlib import Path

import pytest

from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.adapters.table import TableAdapter
from brainmvp_lightning.studies.modality import ModalityVocabulary


def test_the_adapters_are_registered() -> None:
    assert {"bids", "synthetic", "table"} <= set(ADAPTERS.names())


def test_rows_become_scans_and_bad_rows_problems(tmp_path: Path) -> None:
    table = tmp_path / "scans.csv"
    table.write_text("patient,modality,path\np1,T1w,a.nii\np1,T9,b.nii\n")
    adapter = TableAdapter(str(table))
    scans = adapter.scans(ModalityVocabulary())
    assert [(scan.modality, scan.path) for scan in scans] == [("t1", tmp_path / "a.nii")]
    assert [problem.file for problem in adapter.problems] == [f"{table}, line 3"]


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x.csv cannot be read"):
        TableAdapter(str(tmp_path / "x.csv")).scans(ModalityVocabulary())
