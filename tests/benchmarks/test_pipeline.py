"""The benchmark of the data path takes turns fairly and writes what it measured."""

import json
import logging
import os
import sys
import time
from pathlib import Path

import pipeline
import pytest
import recording


def test_processor_time_is_that_of_the_system() -> None:
    end = time.process_time() + 0.3
    before = pipeline._cpu_seconds(os.getpid())
    while time.process_time() < end:
        pass
    assert pipeline._cpu_seconds(os.getpid()) - before == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_both_sides_are_measured_and_recorded(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    words = ("--size", "32", "--batch", "1", "--steps", "2", "--rounds", "1", "--ahead", "1")
    given = [*words, "--workers", workers, "--cache", str(cache_folder)]
    monkeypatch.setattr(sys, "argv", ["pipeline.py", *given])
    monkeypatch.setattr(recording, "RESULTS", tmp_path)
    level = logging.getLogger("lightning.pytorch").level
    try:
        pipeline.main()
    finally:
        logging.getLogger("lightning.pytorch").setLevel(level)
    result = json.loads((tmp_path / "pipeline.json").read_text())
    resident, loader = result["rows"]
    assert (resident["name"], loader["name"]) == ("resident batch", "loader")
    assert loader["steps_per_s"] > 0
    assert resident["waiting_share"] < loader["waiting_share"] < 1
    assert result["loader_alone"]["samples_per_s"] > 0
    read = "1 worker of" if workers == "1" else "read by the training process"
    assert result["reading"].startswith(read)
    assert "compare CPU-seconds" in result["note"]
    assert "--workers " + workers in result["command"]
