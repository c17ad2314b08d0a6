"""The demo's numbers are what they say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from brainmvp_lightning.batches import StudyBatch
from brainmvp_lightning.commands.demo_scores import (
    mean_crops,
    mean_images,
    score_demo,
    template_likeness,
)
from tests.training import small_data, small_task


def test_mean_images_average_the_training_scans_in_place(cache_folder: Path) -> None:
    data = small_data(cache_folder)
    means = mean_images(data, (24, 24, 24))
    modalities = list(data.describe().modalities)
    scans = [
        data.cache.read_unit_crop(
            study, scan, np.array(study.shape) // 2 - 12, (24,) * 3, data.clip
        )
        for study in data.studies("train")
        for scan in study.scans
        if scan.modality == "t2"
    ]
    assert len(scans) == 4
    expected = np.mean(scans, axis=0)
    assert means[modalities.index("t2")].numpy() == pytest.approx(expected, abs=1e-6)
    assert not means[modalities.index("mra")].any()


def test_mean_crops_are_cut_where_the_batch_lies() -> None:
    means = torch.arange(2 * 6**3, dtype=torch.float32).view(2, 6, 6, 6)
    batch = {
        "image": torch.zeros(3, 1, 2, 2, 2),
        "modality": torch.tensor([1, 0, 0]),
        "origin": torch.tensor([[-3, -2, 0], [2, -3, -3], [9, 9, 9]]),
    }
    crops = mean_crops(means, StudyBatch(**batch))  # type: ignore[typeddict-item]
    assert torch.equal(crops[0, 0], means[1, 0:2, 1:3, 3:5])
    assert torch.equal(crops[1, 0, 0], means[0, 5, 0:2, 0:2])
    assert not crops[1, 0, 1].any()  # outside the mean image
    assert not crops[2].any()


def test_a_template_like_its_mean_image_correlates_with_it() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(3, 8, 8, 8, generator=generator) + 0.1
    means[2] = 0  # no data
    templates = torch.stack([2 * means[0] + 1, -means[1], means[1]])
    own, rival = template_likeness(templates, ("t1", "t2", "adc"), means, ("t1", "t2", "adc"))
    assert own == {"t1": pytest.approx(1.0), "t2": pytest.approx(-1.0)}
    assert abs(rival["t1"]) < 0.2


def test_an_untrained_task_scores_worse_than_the_mean_image(cache_folder: Path) -> None:
    scores = score_demo(small_task(), small_data(cache_folder))
    assert scores.cross_modal_mse > scores.mean_image_mse > 0
    assert set(scores.correlation) == {"t1", "t1ce", "t2", "flair", "dwi", "adc"}
