"""Dice and cross entropy, worked out by hand."""

import math

import pytest
import torch
from monai.losses import DiceLoss

from brainmvp_lightning.losses.segmentation import SegmentationLoss, SegmentationLossOptions

ONE = torch.ones(1)


def certain(classes: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Logits that are sure of classes ``b 1 x y z``."""
    one_hot = torch.nn.functional.one_hot(classes[:, 0].long(), num_classes)
    return 40.0 * one_hot.movedim(-1, 1).float()


def half_and_half() -> torch.Tensor:
    label = torch.zeros(1, 1, 2, 2, 2, dtype=torch.uint8)
    label[..., 1] = 1
    return label


def test_a_sure_and_right_answer_costs_nothing() -> None:
    label = half_and_half()
    terms = SegmentationLoss(SegmentationLossOptions(), overlapping=False)(
        [certain(label, 2)], label, ONE
    )
    assert terms["total"].item() == pytest.approx(0, abs=1e-5)


def test_a_guess_between_two_classes_costs_one_bit_and_a_third() -> None:
    # Four of eight voxels, each half claimed: 2 * 4 * 0.5 / (8 * 0.5 + 4) = 1 / 2.
    terms = SegmentationLoss(SegmentationLossOptions(), overlapping=False)(
        [torch.zeros(1, 2, 2, 2, 2)], half_and_half(), ONE
    )
    assert terms["cross_entropy"].item() == pytest.approx(math.log(2))
    assert terms["dice_loss"].item() == pytest.approx(0.5, abs=1e-5)


def test_regions_that_overlap_are_scored_one_by_one() -> None:
    label = torch.ones(1, 2, 2, 2, 2, dtype=torch.uint8)
    logits = torch.full((1, 2, 2, 2, 2), 40.0)
    logits[:, 1] = -40.0  # the second region is missed altogether
    terms = SegmentationLoss(SegmentationLossOptions(), overlapping=True)([logits], label, ONE)
    assert terms["dice_loss"].item() == pytest.approx(0.5, abs=1e-4)
    assert terms["cross_entropy"].item() == pytest.approx(20.0)


def test_auxiliary_answers_add_their_factors() -> None:
    label = half_and_half()
    options = SegmentationLossOptions(dice=0.0, auxiliary=(0.25, 0.5))
    guess = torch.zeros(1, 2, 2, 2, 2)
    terms = SegmentationLoss(options, overlapping=False)([guess, guess, guess], label, ONE)
    assert terms["total"].item() == pytest.approx(1.75 * math.log(2))


def test_a_sample_of_share_0_has_no_influence_even_if_it_is_broken() -> None:
    label = half_and_half().repeat(2, 1, 1, 1, 1)
    logits = torch.zeros(2, 2, 2, 2, 2)
    logits[1] = float("nan")
    logits.requires_grad_()
    terms = SegmentationLoss(SegmentationLossOptions(), overlapping=False)(
        [logits], label, torch.tensor([1.0, 0.0])
    )
    assert terms["total"].item() == pytest.approx(math.log(2) + 0.5, abs=1e-5)


def test_half_precision_is_scored_in_float32() -> None:
    label = half_and_half()
    terms = SegmentationLoss(SegmentationLossOptions(), overlapping=False)(
        [torch.zeros(1, 2, 2, 2, 2, dtype=torch.bfloat16)], label, ONE
    )
    assert terms["total"].dtype == torch.float32


@pytest.mark.parametrize("options", [{"dice": -1.0}, {"dice": 0.0, "cross_entropy": 0.0}])
def test_factors_without_meaning_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="segmentation loss"):
        SegmentationLossOptions(**options)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("overlapping", [False, True])
def test_dice_and_its_gradient_are_those_of_monai(
    *, squared: bool, background: bool, overlapping: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(2, 3, 4, 5, 6, generator=generator, dtype=torch.double, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    shape = (2, 3 if overlapping else 1, 4, 5, 6)
    label = torch.randint(2 if overlapping else 3, shape, generator=generator).to(torch.uint8)
    label[1] = 0  # a sample without what is looked for
    reference = DiceLoss(
        include_background=background or overlapping,
        to_onehot_y=not overlapping,
        softmax=not overlapping,
        sigmoid=overlapping,
        squared_pred=squared,
        reduction="none",
    )
    options = SegmentationLossOptions(include_background=background, squared_dice=squared)
    loss = SegmentationLoss(options, overlapping=overlapping)
    dice = loss([ours], label, torch.full((2,), 0.5))["dice_loss"]
    expected = reference(theirs, label.double()).mean()
    assert dice.item() == pytest.approx(expected.item(), abs=1e-7)
    torch.autograd.backward([dice, expected])
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9)
