"""Pictures, templates and the encoder end up where the run folder says."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors import safe_open

from brainmvp_lightning.callbacks.checkpoints import (
    BestCheckpoint,
    LastCheckpoint,
    SaveRunConfig,
)
from brainmvp_lightning.callbacks.console import EpochLines, TrainingBar
from brainmvp_lightning.callbacks.drawing import draw_slices
from brainmvp_lightning.callbacks.encoder_export import EncoderExport
from brainmvp_lightning.callbacks.pictures import ReconstructionPictures, TemplatePictures
from brainmvp_lightning.callbacks.run_record import RunRecord
from tests.training import small_data, small_task, small_trainer


def test_slices_show_the_middle_with_front_up(tmp_path: Path) -> None:
    volume = np.zeros((8, 8, 4))
    volume[4:, 4:, 2] = 1  # right front
    draw_slices([[volume]], tmp_path / "new" / "a.png", columns=["t1"])
    picture = imread(tmp_path / "new" / "a.png")[..., 0]
    height, width = picture.shape
    title = int(0.2 * height)
    upper, lower = picture[title : height // 2], picture[-height // 4 :]
    assert upper[:, 3 * width // 4].mean() > 0.8
    assert lower[:, width // 4].mean() < 0.1


@pytest.fixture(scope="module")
def run(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    callbacks = [EncoderExport("ours"), TemplatePictures(), ReconstructionPictures(), EpochLines()]
    trainer = small_trainer(folder, *callbacks, epochs=2)
    trainer.fit(small_task(), small_data(cache_folder))
    return folder


def test_pictures_are_drawn_after_each_validation(run: Path) -> None:
    assert sorted(path.name for path in (run / "pictures").iterdir()) == [
        "reconstruction_0001.png",
        "reconstruction_0002.png",
        "templates_0001.png",
        "templates_0002.png",
        "templates_last.png",
    ]


def test_templates_are_written_in_true_geometry(run: Path) -> None:
    image = nib.load(run / "templates" / "t1.nii.gz")
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    centre = saved["method.templates.centre_mm"].numpy()
    assert image.shape == (24, 24, 24)
    assert nib.affines.apply_affine(image.affine, (12, 12, 12)) == pytest.approx(centre, abs=1e-4)
    assert np.asarray(image.dataobj) == pytest.approx(
        saved["method.templates.values"][1].numpy(), abs=1e-6
    )
    assert len(list((run / "templates").iterdir())) == 8


def test_the_encoder_file_says_what_it_is(run: Path) -> None:
    with safe_open(run / "encoder.safetensors", "pt") as file:
        names = set(file.keys())
        manifest = json.loads(file.metadata()["brainmvp_lightning"])
    assert "templates" in names
    assert any(name.startswith("encoder.") for name in names)
    text = json.dumps(manifest)
    for fact in ("ours", "recipe", "modalities", "torch", "UNET3D"):
        assert fact in text, fact


def test_a_trial_of_one_batch_leaves_a_finished_run_alone(
    cache_folder: Path, tmp_path: Path
) -> None:
    files = ("checkpoints/best.ckpt", "encoder.safetensors", "run.json", "templates/t1.nii.gz")
    for name in (*files, "pictures/templates_0001.png", "pictures/reconstruction_0001.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"old")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    parts = [EncoderExport(), TemplatePictures(), ReconstructionPictures(), RunRecord()]
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        fast_dev_run=True,
        enable_progress_bar=False,
        callbacks=[LastCheckpoint(), BestCheckpoint("val/total", "min"), *parts],
    )
    trainer.fit(small_task(), small_data(cache_folder))
    parser: Any = SimpleNamespace(save=lambda _, path, **_options: path.write_text("new"))
    config: Any = SimpleNamespace(clone=dict)
    SaveRunConfig(parser, config).save_config(trainer, trainer.lightning_module, "fit")
    assert trainer.global_step == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_bar_reads_losses_from_the_device_as_often_as_they_are_logged(
    cache_folder: Path, tmp_path: Path
) -> None:
    reads: list[int] = []

    class Counting(TrainingBar):
        def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
            before = self._shown
            shown = super().get_metrics(trainer, pl_module)
            if trainer.training and shown is not before:
                reads.append(trainer.global_step)
            return shown

    trainer = small_trainer(tmp_path, Counting(), epochs=2)  # three steps an epoch
    trainer.log_every_n_steps = 4
    trainer.fit(small_task(), small_data(cache_folder))
    assert reads == [1, 4]  # the first, because there is nothing to show yet


def test_lines_tell_losses_and_time_left(
    cache_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = small_trainer(tmp_path, EpochLines(), epochs=1)
    trainer.fit(small_task(), small_data(cache_folder))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch"))
    assert line.startswith("epoch 1/1  train/total ")
    assert "val/total" in line
    assert "0 s left" in line
