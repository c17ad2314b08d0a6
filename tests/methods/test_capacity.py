"""The most rows of a batch reach the contrast, which must not ask other processes for it."""

import pytest
import torch
from brainmvp_toy import Build, run

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import StepInfo, StudyBatch


def test_the_capacity_of_a_batch_reaches_the_contrast(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    batch["capacity"] = 2  # too few for the 3 images with a partner
    with pytest.raises(ValueError, match="3 rows do not fit a capacity of 2"):
        run(build(), backbone, batch, training)


def test_the_capacity_changes_no_loss(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = build()
    expected = run(method, backbone, batch, training)[2]
    batch["capacity"] = 7
    assert torch.equal(run(method, backbone, batch, training)[2], expected)
