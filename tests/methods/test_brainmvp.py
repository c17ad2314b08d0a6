"""BrainMVP: equations by hand, and gradients only where they belong."""

import math
from functools import partial

import pytest
import torch
from brainmvp_toy import ADC, FLAIR, T1, T2, TERMS, Build, run
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import StepInfo, StudyBatch
from brainmvp_lightning.heads.contrastive import InfoNCEHead
from brainmvp_lightning.heads.reconstruction import ReconstructionHead
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.methods.registry import METHODS


class Constant(nn.Module):
    """Decodes everything to one grey value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.value.expand(len(features[-1]), 1, 8, 8, 8)


def squared_errors(batch: StudyBatch, grey: float) -> Tensor:
    return (batch["image"] - grey).square().mean(dim=(1, 2, 3, 4))


def test_name() -> None:
    assert METHODS.implementation("brainmvp") is BrainMVP


def test_equations_2_3_and_6_by_hand(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = build(share_decoder=False, distillation=partial(ReconstructionHead, weight=2.0))
    method.cross_modal.decoder, method.distillation.decoder = Constant(0.5), Constant(0.25)
    _, terms, total = run(method, backbone, batch, training)
    cross_modal = squared_errors(batch, 0.5)[[0, 2, 3]].sum() / 4  # row 1 counts in the mean as 0
    distillation = squared_errors(batch, 0.25).sum() / 4
    assert terms.terms["cross_modal"].item() == pytest.approx(cross_modal.item())
    assert terms.terms["distillation"].item() == pytest.approx(distillation.item())
    expected = cross_modal + 2 * distillation + terms.terms["contrast"]
    assert total.item() == pytest.approx(expected.item())
    assert terms.metrics["cross_modal_mse"].item() == pytest.approx(cross_modal.item() * 4 / 3)
    assert terms.metrics["distillation_mse"].item() == pytest.approx(distillation.item())


def test_all_modalities_of_a_study_share_its_weight(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    # Study a has rows 0, 2 and 3, study b has row 1: mean over studies of the mean over modalities.
    batch["weight"] = torch.tensor([1 / 6, 1 / 2, 1 / 6, 1 / 6])
    method = build(("contrast",), share_decoder=False)
    method.cross_modal.decoder, method.distillation.decoder = Constant(0.5), Constant(0.5)
    _, _, total = run(method, backbone, batch, training)
    errors = squared_errors(batch, 0.5)
    expected = (2 * errors[[0, 2, 3]].mean() + errors[1]) / 2
    assert total.item() == pytest.approx(expected.item())


def test_views_are_the_image_or_the_filler_never_blended(
    build: Build, batch: StudyBatch, training: StepInfo
) -> None:
    method = build()
    views = method.views(batch, training)
    rows = batch["partner_rows"]
    hidden = views.cross_modal.mask
    assert torch.equal(views.cross_modal.image[hidden], batch["partner"][hidden])
    assert torch.equal(views.cross_modal.image[~hidden], batch["image"][rows][~hidden])
    hidden = views.template.mask
    crops = method.templates.crop(torch.tensor([T1, T2, ADC, T1]), batch["origin"], (8, 8, 8))
    assert torch.equal(views.template.image[hidden], crops[hidden])
    assert torch.equal(views.template.image[~hidden], batch["image"][~hidden])
    assert hidden.sum(dim=(1, 2, 3, 4)).tolist() == [384] * 4  # 0.75 of 512


def test_one_forward_for_both_views(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    sizes = []
    backbone.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    run(build(), backbone, batch, training)
    assert sizes == [3 + 4]


def test_templates_learn_only_where_they_are_seen(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = build()
    views, _, total = run(method, backbone, batch, training)
    total.backward()
    expected = torch.zeros(4, 16, 16, 16, dtype=torch.bool)
    for row, template in enumerate((T1, T2, ADC, T1)):
        for voxel in views.template.mask[row, 0].nonzero() + batch["origin"][row] + 8:
            if ((voxel >= 0) & (voxel < 16)).all():
                expected[(template, *voxel)] = True
    gradient = method.templates.values.grad
    assert expected.sum() > 500
    assert torch.equal(gradient != 0, expected)
    assert (gradient[FLAIR] == 0).all()


def test_a_study_with_one_modality_takes_part_in_distillation_only(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = build()
    _, before, _ = run(method, backbone, batch, training)
    batch["image"][1] = 0.5
    _, after, _ = run(method, backbone, batch, training)
    assert after.terms["cross_modal"] == before.terms["cross_modal"]
    assert after.terms["contrast"] == before.terms["contrast"]
    assert after.terms["distillation"] != before.terms["distillation"]


def test_rows_without_share_have_no_influence(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    batch["weight"] = torch.tensor([0.5, 0.5, 0.0, 1.0])
    method = build()
    parameters = [*backbone.parameters(), *method.parameters()]
    _, before, total = run(method, backbone, batch, training)
    gradients = torch.autograd.grad(total, parameters)
    batch["image"][2], batch["partner"][1] = torch.rand(2, 1, 8, 8, 8)
    batch["modality"][2] = 0
    batch["key"][2] = 55
    _, after, total = run(method, backbone, batch, training)
    for term in TERMS:
        assert torch.equal(after.terms[term], before.terms[term])
    assert before.metrics["negatives"] == 1
    for gradient, expected in zip(torch.autograd.grad(total, parameters), gradients, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-7)


def test_untrained_contrast_costs_about_the_entropy_of_a_guess(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = build(contrast=partial(InfoNCEHead, temperature=100.0))
    _, terms, _ = run(method, backbone, batch, training)
    assert terms.terms["contrast"].item() == pytest.approx(3 / 4 * math.log(3), rel=0.01)
    assert terms.metrics["negatives"] == 2


def test_equal_batches_give_equal_views(
    build: Build, batch: StudyBatch, training: StepInfo
) -> None:
    first, second = (build().views(batch, training) for _ in range(2))
    assert torch.equal(first.cross_modal.image, second.cross_modal.image)
    assert torch.equal(first.template.image, second.template.image)


def test_losses_are_float32_under_autocast_and_close_to_it(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    _, exact, _ = run(build(), backbone, batch, training)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, half, total = run(build(), backbone, batch, training)
    for term in TERMS:
        assert half.terms[term].dtype == torch.float32
        assert half.terms[term].item() == pytest.approx(exact.terms[term].item(), rel=0.02)
    total.backward()


def test_runs_in_double_precision(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = build().double()
    batch["image"], batch["partner"] = batch["image"].double(), batch["partner"].double()
    _, terms, _ = run(method, backbone.double(), batch, training)
    assert all(term.dtype == torch.float64 for term in terms.terms.values())
