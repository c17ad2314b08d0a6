"""Reconstruction errors, worked out by hand."""

import pytest
import torch

from brainmvp_lightning.losses.reconstruction import mean_absolute_error, mean_squared_error


def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    prediction = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 2.5]]).view(2, 1, 2, 2, 1)
    target = torch.tensor([[0.0, 0.0, 0.0, 2.0], [0.5, 0.5, 0.5, 0.5]]).view(2, 1, 2, 2, 1)
    mask = torch.tensor([[True, True, False, False], [False] * 4]).view(2, 1, 2, 2, 1)
    return prediction, target, mask


def test_errors_are_means_over_all_voxels_of_each_sample() -> None:
    prediction, target, _ = images()
    assert mean_squared_error(prediction, target).tolist() == [5 / 4, 1.0]
    assert mean_absolute_error(prediction, target).tolist() == [3 / 4, 0.5]


def test_masked_errors_are_means_over_masked_voxels_and_0_without_any() -> None:
    prediction, target, mask = images()
    assert mean_squared_error(prediction, target, mask).tolist() == [0.5, 0.0]
    assert mean_absolute_error(prediction, target, mask).tolist() == [0.5, 0.0]


def test_voxels_that_are_not_masked_get_no_gradient() -> None:
    prediction, target, mask = images()
    prediction.requires_grad_()
    mean_squared_error(prediction, target, mask).sum().backward()
    assert prediction.grad is not None
    assert (prediction.grad[~mask] == 0).all()
    assert prediction.grad[0].flatten().tolist() == [1.0, 0.0, 0.0, 0.0]  # 2 * (1 - 0) / 2


def test_half_precision_is_scored_in_float32_and_double_in_double() -> None:
    prediction, target = torch.full((1, 1, 2, 2, 2), 1.0), torch.full((1, 1, 2, 2, 2), 1.001)
    error = mean_squared_error(prediction.bfloat16(), target)
    assert error.dtype == torch.float32
    assert error.item() == pytest.approx(1e-6, rel=1e-3)
    assert mean_squared_error(prediction.double(), target.double()).dtype == torch.float64


def test_shapes_that_differ_are_refused_instead_of_broadcast() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4, 4\).*\(2, 1, 4, 4, 1\)"):
        mean_squared_error(torch.zeros(2, 1, 4, 4, 4), torch.zeros(2, 1, 4, 4, 1))
