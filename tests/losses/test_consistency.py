"""Consistency: a mean over elements, maps and shares, with gradients on both sides."""

import pytest
import torch

from brainmvp_lightning.losses.consistency import consistency_loss, squared_distance


def test_the_distance_is_the_mean_square_of_each_sample() -> None:
    first = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).view(2, 1, 1, 1, 2)
    second = torch.tensor([[1.0, 4.0], [0.0, 1.0]]).view(2, 1, 1, 1, 2)
    assert squared_distance(first, second).tolist() == [2.0, 12.5]  # (0 + 4) / 2, (9 + 16) / 2


def test_maps_weigh_the_same_whatever_their_size_and_shares_add_up() -> None:
    first = [torch.zeros(2, 1, 4, 4, 4), torch.zeros(2, 8)]
    second = [torch.ones(2, 1, 4, 4, 4), torch.tensor([3.0, 0.0])[:, None].expand(2, 8)]
    loss = consistency_loss(first, second, torch.tensor([0.5, 0.25]))
    assert loss.item() == 0.5 * (1 + 9) / 2 + 0.25 * (1 + 0) / 2


def test_samples_without_a_share_do_not_count() -> None:
    first, second = torch.zeros(2, 3), torch.tensor([[1.0] * 3, [100.0] * 3])
    assert consistency_loss([first], [second], torch.tensor([1.0, 0.0])).item() == 1


def test_both_sides_learn_and_equal_maps_have_a_finite_gradient() -> None:
    first, second = torch.zeros(2, 1, 4, requires_grad=True), torch.zeros(2, 1, 4)
    second[0], second.requires_grad = 1.0, True
    consistency_loss([first], [second], torch.tensor([1.0, 1.0])).backward()
    assert first.grad is not None
    assert second.grad is not None
    assert first.grad[0].flatten().tolist() == [-0.5] * 4  # 2 * (0 - 1) / 4
    assert torch.equal(second.grad, -first.grad)
    assert first.grad[1].abs().max() == 0


def test_half_precision_is_compared_in_single_precision() -> None:
    # 300 squared is beyond half precision.
    first, second = torch.zeros(1, 2).half(), torch.full((1, 2), 300.0).half()
    loss = consistency_loss([first], [second], torch.ones(1))
    assert loss.dtype == torch.float32
    assert loss.item() == 90000


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(1, 3\) cannot be compared"):
        squared_distance(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="have 1 and 0"):
        consistency_loss([torch.zeros(1, 2)], [], torch.ones(1))
