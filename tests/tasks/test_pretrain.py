"""A training goes on over bad scans, and stops at the first loss that is not finite."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from brainmvp_lightning.batches import DataDescription
from brainmvp_lightning.volumes.cache import Cache
from tests.training import LossRecord, small_data, small_task, small_trainer


def test_a_damaged_scan_is_counted_and_the_training_goes_on(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cache.path, tmp_path / "cache")
    study = next(study for study in cache.studies if study.patient == "c")
    frame = tmp_path / "cache" / study.scans[0].file
    frame.write_bytes(frame.read_bytes()[:-1])
    task, record = small_task(), LossRecord()
    small_trainer(tmp_path / "run", record, epochs=2).fit(task, small_data(tmp_path / "cache"))
    assert len(record.losses) == 6
    assert task.num_faults == 2
    assert "set aside" in capsys.readouterr().out


def test_the_first_term_that_is_not_finite_is_named(cache_folder: Path, tmp_path: Path) -> None:
    task = small_task()
    with torch.no_grad():
        next(task.method.cross_modal.parameters()).fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(FloatingPointError, match="loss term 'cross_modal' is nan at step 0"):
        small_trainer(tmp_path, epochs=1).fit(task, small_data(cache_folder))


def test_all_modalities_of_a_study_can_be_used_in_one_step(
    cache_folder: Path, tmp_path: Path
) -> None:
    record = LossRecord()
    data = small_data(cache_folder, modalities_per_step="all", batch_size=5)
    small_trainer(tmp_path, record, epochs=1).fit(small_task(), data)
    assert len(record.losses) == 1


def test_without_distillation_studies_with_one_modality_are_left_out(cache_folder: Path) -> None:
    data = small_data(cache_folder)
    data.needs = small_task(distillation=None).needs
    with pytest.warns(UserWarning, match="1 of 5 train studies have fewer than 2 modalities"):
        studies = data.studies("train")
    assert {study.patient for study in studies} == {"a", "b", "d", "e"}


def test_a_modality_without_a_template_is_named() -> None:
    data = DataDescription(("t1", "swi"), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (16, 16, 16))
    with pytest.raises(ValueError, match="swi"):
        small_task().method.prepare(data)


def test_wandb_takes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from brainmvp_lightning.cli import main

    config = Path(__file__).parents[2] / "configs" / "demo" / "pretrain.yaml"
    line = ["--trainer.logger", "WandbLogger", "--trainer.logger.offline", "true"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(config), *line, "--print_config"])
    assert stop.value.code == 0
    logger = yaml.safe_load(capsys.readouterr().out)["trainer"]["logger"]
    assert logger["class_path"].endswith("WandbLogger")
    assert logger["init_args"]["offline"] is True
