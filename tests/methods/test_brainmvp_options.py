"""BrainMVP's options: any subset of the terms, schedules, templates, what is logged and drawn."""

import dataclasses
import itertools
from functools import partial

import pytest
import torch
from brainmvp_toy import TEMPLATES, TERMS, Build, run

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import DataDescription, StepInfo, StudyBatch
from brainmvp_lightning.heads.contrastive import InfoNCEHead
from brainmvp_lightning.heads.reconstruction import ReconstructionHead
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.base import DataNeeds
from brainmvp_lightning.methods.brainmvp import BrainMVP

SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(TERMS, n)]


def test_masks_of_the_two_views_are_independent_unless_asked(
    build: Build, batch: StudyBatch, training: StepInfo
) -> None:
    rows = batch["partner_rows"]
    views = build().views(batch, training)
    assert not torch.equal(views.cross_modal.mask, views.template.mask[rows])
    views = build(same_mask=True).views(batch, training)
    assert torch.equal(views.cross_modal.mask, views.template.mask[rows])


@pytest.mark.parametrize("kept", SUBSETS, ids="+".join)
@pytest.mark.parametrize("partners", ["some", "none"])
def test_every_subset_of_terms_runs_and_trains_all_that_it_has(
    kept: tuple[str, ...],
    partners: str,
    build: Build,
    backbone: Backbone,
    batch: StudyBatch,
    training: StepInfo,
) -> None:
    if partners == "none":
        batch["partner"], batch["partner_rows"] = batch["partner"][:0], batch["partner_rows"][:0]
    method = build(tuple(term for term in TERMS if term not in kept))
    _, terms, total = run(method, backbone, batch, training)
    assert tuple(terms.terms) == kept
    total.backward()
    for name, parameter in [*backbone.named_parameters(), *method.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert (method.templates is None) == (kept == ("cross_modal",))
    assert ("cross_modal" in kept or "contrast" in kept) == method.needs.needs_partner
    assert method.needs.min_modalities == (1 if "distillation" in kept else 2)
    if partners == "none" and "distillation" not in kept:
        assert total == 0


def test_terms_that_did_not_start_yet_are_computed_and_weigh_nothing(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = build(contrast=partial(InfoNCEHead, start_epoch=5, projector_width=8))
    _, terms, total = run(method, backbone, batch, training)
    assert method.weights(training)["contrast"] == 0
    assert method.weights(dataclasses.replace(training, epoch=5))["contrast"] == 1
    assert terms.terms["contrast"] > 0
    total.backward()
    assert all((p.grad == 0).all() for p in method.contrast.parameters())


def test_templates_fill_both_views_of_every_image_before_partners_start(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = build(partner_start_epoch=3)
    views, terms, _ = run(method, backbone, batch, training)
    hidden = views.cross_modal.mask
    assert len(hidden) == 4
    assert torch.equal(views.cross_modal.image[hidden], views.template.fill[hidden])
    assert terms.metrics["negatives"] == 3
    later = method.views(batch, dataclasses.replace(training, epoch=3))
    assert torch.equal(later.cross_modal.fill, batch["partner"])


def test_one_decoder_serves_both_reconstructions_unless_asked(build: Build) -> None:
    shared, apart = build(), build(share_decoder=False)
    assert shared.cross_modal.decoder is shared.distillation.decoder
    assert apart.cross_modal.decoder is not apart.distillation.decoder
    with pytest.raises(ValueError, match="set share_decoder to false"):
        build(distillation=partial(ReconstructionHead, decoder="transposed"))


def test_contradicting_options_are_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="no term left"):
        build(TERMS)
    with pytest.raises(ValueError, match="set it to 0"):
        build(("distillation", "contrast"), partner_start_epoch=300)


def test_data_without_a_template_are_refused_with_a_remedy(
    build: Build, data: DataDescription
) -> None:
    with pytest.raises(ValueError, match=r"flare.*did you mean flair\?.*templates\.modalities"):
        build().prepare(dataclasses.replace(data, modalities=("t1", "flare")))
    build(("distillation", "contrast")).prepare(dataclasses.replace(data, modalities=("ct",)))


def test_templates_need_a_description_of_the_data(
    backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    method = BrainMVP(backbone, masking=GridBlocks(2), templates=TEMPLATES)
    with pytest.raises(RuntimeError, match="prepare"):
        method.views(batch, training)


def test_templates_are_placed_where_the_data_are(build: Build, data: DataDescription) -> None:
    affine = build().templates.affine()
    assert (affine @ torch.tensor([8.0, 8.0, 8.0, 1.0]).double()).tolist()[:3] == [3.0, -4.0, 5.0]
    assert affine.diagonal().tolist() == [1.0, 2.0, 1.5, 1.0]


def test_templates_have_optimiser_options_of_their_own(build: Build) -> None:
    method = build(templates=dataclasses.replace(TEMPLATES, lr_scale=10.0))
    templates, rest = method.parameter_groups(0.1)
    assert templates["params"][0] is method.templates.values
    assert (templates["lr"], templates["weight_decay"]) == (pytest.approx(1.0), 0.0)
    assert set(rest) == {"params"}
    assert len(rest["params"]) == len(list(method.cross_modal.parameters()))
    assert len(build(("cross_modal", "distillation")).parameter_groups(0.1)) == 1
    assert len(build(("distillation", "contrast")).parameter_groups(0.1)) == 1


def test_pictures_show_the_first_images_in_both_views(
    build: Build, backbone: Backbone, batch: StudyBatch, validation: StepInfo
) -> None:
    method = build()
    views, terms, _ = run(method, backbone, batch, validation)
    rows = batch["partner_rows"]
    assert {name: len(images) for name, images in terms.pictures.items()} == dict.fromkeys(
        (
            "input",
            "partner",
            "cross_view",
            "cross_reconstruction",
            "template",
            "template_view",
            "template_reconstruction",
        ),
        3,
    )
    assert torch.equal(terms.pictures["input"], batch["image"][rows])
    assert torch.equal(terms.pictures["template_view"], views.template.image[rows])
    assert not any(images.requires_grad for images in terms.pictures.values())


@pytest.mark.parametrize("kept", SUBSETS, ids="+".join)
def test_pictures_of_every_subset_have_one_length(
    kept: tuple[str, ...],
    build: Build,
    backbone: Backbone,
    batch: StudyBatch,
    validation: StepInfo,
    training: StepInfo,
) -> None:
    method = build(tuple(term for term in TERMS if term not in kept))
    _, terms, _ = run(method, backbone, batch, validation)
    assert len({len(images) for images in terms.pictures.values()}) == 1
    assert not run(method, backbone, batch, training)[1].pictures


def test_measured_share_is_logged_without_gradient(
    build: Build, backbone: Backbone, batch: StudyBatch, training: StepInfo
) -> None:
    _, terms, _ = run(build(), backbone, batch, training)
    assert terms.metrics["masked_share"].item() == 0.75
    assert not any(value.requires_grad for value in terms.metrics.values())
    assert build().step_metrics()["t1/mean"].item() == pytest.approx(0.5, abs=0.05)
    assert build(("distillation", "contrast")).step_metrics() == {}


def test_needs_two_modalities_without_distillation(build: Build) -> None:
    assert build().needs == DataNeeds(min_modalities=1, needs_partner=True)
    assert build(("distillation",)).needs == DataNeeds(min_modalities=2, needs_partner=True)
    alone = build(("cross_modal", "contrast"))
    assert alone.needs == DataNeeds(min_modalities=1, needs_partner=False)
