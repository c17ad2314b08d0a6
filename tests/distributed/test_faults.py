"""Faults that any process meets are named and counted."""

import contextlib
import io
from pathlib import Path

import pytest

from tests.distributed.ranks import launch
from tests.distributed.runs import task, two_ranks
from tests.training import small_data


def train_with_a_fault(rank: int, cache: Path, folder: Path) -> None:
    """Train a step; the second process meets a fault twice."""
    made, trainer = task(), two_ranks(folder, "ddp", max_steps=1)
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        made.trainer = trainer
        for _ in range(2 * rank):
            made.report_fault("a.npy is gone")
        trainer.fit(made, small_data(cache))
    assert float(trainer.callback_metrics["data/faults_of_all"]) == 2
    assert told.getvalue().count("process 1: fault 1: a.npy is gone") == rank


@pytest.mark.slow
def test_faults_of_all_processes_are_named_and_counted(cache_folder: Path, tmp_path: Path) -> None:
    launch(train_with_a_fault, 2, cache_folder, tmp_path)
