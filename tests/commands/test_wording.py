"""Sentences of reports say what happened."""

import warnings
from pathlib import Path

import pytest

from brainmvp_lightning.cli import main
from brainmvp_lightning.commands.demo_scores import times
from tests.conftest import write_studies
from tests.datamodules.labelled_cohort import write_cohort
from tests.tasks.fine_tuning import segmentation_data


def test_an_error_that_is_higher_is_called_higher() -> None:
    assert (times(2.0), times(0.5), times(1.0)) == ("2.00 x lower", "2.00 x higher", "1.00 x lower")


def test_prepare_counts_the_studies_that_are_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_studies(tmp_path)
    for name in ("c/c_t1", "g/g_t2"):  # all that these two studies have
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    words = ("--source", "table", "--source.path", str(table), "--workers", "1")
    assert main(["prepare", *words, "--cache", str(tmp_path / "cache")]) == 0
    assert "prepared 5 of 7 studies in" in " ".join(capsys.readouterr().out.split())


def test_studies_of_all_splits_are_called_studies(tmp_path: Path) -> None:
    data = segmentation_data(write_cohort(tmp_path), modalities=["t1"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data.studies("all")
    said = " ".join(str(warning.message) for warning in caught)
    assert " of 9 studies are left out" in said
    assert "all studies" not in said
