"""What makes a run another one: the content of what it reads, not the machine that it runs on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.experiments.markers import ChangedPlanError
from brainmvp_lightning.experiments.plan import Common, plan_label_efficiency
from brainmvp_lightning.experiments.runner import Outcome, RunOptions, run_cells
from tests.experiments.making import STAND_IN, small_plan

NAME = "finetune/a/fraction_1/seed_0"


def run(folder: Path, arms: dict[str, Any]) -> Outcome:
    plan = small_plan(folder, arms)
    return run_cells(plan.cells, folder / "runs", RunOptions(program=STAND_IN))


def test_a_cache_that_was_prepared_anew_is_named_and_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    index = cache / "index.json"
    index.write_text("one")
    arms = {"a": {"data.cache": str(cache)}}
    run(tmp_path, arms)
    (cache / "journal.jsonl").write_text("no part of the content")
    assert run(tmp_path, arms).skipped == [NAME]
    index.write_text("other")
    with pytest.raises(ChangedPlanError, match=f"the content of {cache} has changed"):
        run(tmp_path, arms)
    shutil.rmtree(cache)
    assert run(tmp_path, arms).skipped == [NAME]  # scores outlive the data


@pytest.mark.parametrize("file", ["encoder.safetensors", "model.safetensors", "t1.nii.gz"])
def test_other_content_of_a_folder_makes_another_run(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / file).write_text("one")
    arms = {"a": {"model.templates": str(folder)}}
    run(tmp_path, arms)
    (folder / file).write_text("other")
    with pytest.raises(ChangedPlanError, match=r"the content of .*templates has changed"):
        run(tmp_path, arms)


def test_other_machines_may_go_on_but_other_devices_multiply_the_batch(tmp_path: Path) -> None:
    task = small_plan(tmp_path, {"a": None}).cells[0].steps[0].words[2]
    config = yaml.safe_load(Path(task).read_text())

    def run_with(accelerator: str, workers: int, devices: int) -> Outcome:
        config["trainer"] |= {"accelerator": accelerator, "devices": devices}
        config["data"]["init_args"]["num_workers"] = workers
        Path(task).write_text(yaml.safe_dump(config))
        common = Common(Path(task), tmp_path / "runs")
        cells = plan_label_efficiency(common, {"a": None}, [1.0]).cells
        return run_cells(cells, tmp_path / "runs", RunOptions(program=STAND_IN))

    run_with("gpu", 4, 1)
    assert run_with("cpu", 0, 1).skipped == [NAME]
    with pytest.raises(ChangedPlanError, match=r"trainer\.devices was 1, is 2"):
        run_with("cpu", 0, 2)
