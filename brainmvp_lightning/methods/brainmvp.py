"""BrainMVP: reconstruct what another modality or a learned template has overwritten."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import DataDescription, StepInfo, StudyBatch
from brainmvp_lightning.heads.base import LossHead
from brainmvp_lightning.heads.contrastive import InfoNCEHead
from brainmvp_lightning.heads.reconstruction import ReconstructionHead
from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.methods.base import DataNeeds, LossTerms, SSLMethod
from brainmvp_lightning.methods.registry import METHODS
from brainmvp_lightning.methods.templates import ModalityTemplates, TemplateOptions
from brainmvp_lightning.methods.views import (
    BrainMVPViews,
    masked_share,
    overwrite,
    pictures_of,
    reconstruction_error,
)
from brainmvp_lightning.randomness import CountedRandom


@METHODS.register("brainmvp")
class BrainMVP(SSLMethod):
    """Cross-modal reconstruction, distillation into modality templates, contrast of the two views.

    Each term is removed by setting its head to null; views and templates that no term needs are
    then not made. A study with one modality has no cross-modal view and takes part in the
    distillation only.

    Args:
        backbone: Network to be trained.
        masking: Where images are overwritten.
        cross_modal: Head that reconstructs images overwritten with another modality.
        distillation: Head that reconstructs images overwritten with the template of their own
            modality, which learns from it.
        contrast: Head that contrasts the two views of an image.
        templates: What templates look like and how they learn.
        share_decoder: Whether both reconstructions use one decoder, as the paper writes them.
        same_mask: Whether both views of an image are overwritten at the same places; the paper
            draws each on its own.
        partner_start_epoch: First epoch in which another modality overwrites the cross-modal view;
            before, the template does so in both views (published code: after 300).

    Raises:
        ValueError: If no term is left, or options contradict each other.

    Source:
        BrainMVP, equations 2 to 6 and table 4.
    """

    def __init__(  # noqa: PLR0913 - one argument for each part of the paper that can be exchanged
        self,
        backbone: Backbone,
        *,
        masking: Masking,
        cross_modal: Callable[[Backbone], LossHead] | None = ReconstructionHead,
        distillation: Callable[[Backbone], LossHead] | None = ReconstructionHead,
        contrast: Callable[[Backbone], LossHead] | None = InfoNCEHead,
        templates: TemplateOptions = TemplateOptions(),  # noqa: B008 - frozen
        share_decoder: bool = True,
        same_mask: bool = False,
        partner_start_epoch: int = 0,
    ) -> None:
        super().__init__()
        self.masking = masking
        self.cross_modal = cross_modal(backbone) if cross_modal else None
        self.distillation = distillation(backbone) if distillation else None
        self.contrast = contrast(backbone) if contrast else None
        self.template_options = templates
        self.templates: ModalityTemplates | None = None
        if self.distillation or self.contrast:
            self.templates = ModalityTemplates(
                templates.modalities,
                templates.shape,
                templates.rescale,
                templates.start,
                templates.smooth_gradient,
                templates.update,
            )
        self.template_of: Tensor | None
        self.register_buffer("template_of", None, persistent=False)
        self.same_mask = same_mask
        self.partner_start_epoch = partner_start_epoch
        self._check_terms()
        if share_decoder:
            _share_decoder(self.cross_modal, self.distillation)

    def _check_terms(self) -> None:
        if not self.heads():
            raise ValueError(
                "brainmvp has no term left; keep one of cross_modal, distillation and contrast"
            )
        if self.partner_start_epoch > 0 and self.templates is None:
            raise ValueError(
                f"partner_start_epoch={self.partner_start_epoch} overwrites with templates before "
                "that epoch, but without distillation and contrast there are none; set it to 0"
            )

    def heads(self) -> dict[str, LossHead]:
        """Return the head of each term that is not removed."""
        heads = {
            "cross_modal": self.cross_modal,
            "distillation": self.distillation,
            "contrast": self.contrast,
        }
        return {term: head for term, head in heads.items() if head is not None}

    @property
    def needs(self) -> DataNeeds:
        """Two modalities, unless there is distillation, which is content with one."""
        return DataNeeds(
            min_modalities=1 if self.distillation else 2,
            needs_partner=self.cross_modal is not None or self.contrast is not None,
        )

    def weights(self, step: StepInfo) -> dict[str, float]:
        """Return the factor of each term in the epoch of `step`."""
        return {term: head.weight_at(step.epoch) for term, head in self.heads().items()}

    def prepare(self, data: DataDescription) -> None:
        """Find the template of each modality of the data, and put the templates in their place.

        Raises:
            ValueError: If a modality has no template, or the crop does not suit the masking.
        """
        self.masking.draw(data.crop_size, CountedRandom(torch.zeros(1, dtype=torch.int64)))
        if self.templates is None:
            return
        known = self.templates.modalities
        missing = [modality for modality in data.modalities if modality not in known]
        if missing:
            raise ValueError(_describe_missing(missing, known))
        indices = [known.index(modality) for modality in data.modalities]
        self.template_of = torch.tensor(indices, device=self.templates.values.device)
        self.templates.place(data.spacing_mm, data.centre_mm)

    def views(self, batch: StudyBatch, step: StepInfo) -> BrainMVPViews:
        """Overwrite a part of each image with its partner, and another part with its template.

        Raises:
            RuntimeError: If templates are in use and `prepare` was not called.
        """
        is_warm_up = step.epoch < self.partner_start_epoch
        if not (self.distillation or is_warm_up or len(batch["partner_rows"])):
            batch = _with_stand_in(batch)
        every = torch.arange(len(batch["image"]), device=batch["image"].device)
        partnered = every if is_warm_up else batch["partner_rows"]
        cross_modal = template = None
        pairs = partnered
        if self.templates is not None:
            # Nothing but the distillation looks at images without a partner.
            rows = every if self.distillation else partnered
            fill = self._crop_templates(self.templates, batch, rows)
            template = overwrite(batch, rows, self._mask(batch, rows, "template"), fill)
            pairs = partnered if self.distillation else every[: len(partnered)]
        if self.needs.needs_partner:
            fill = template.fill if template is not None and is_warm_up else batch["partner"]
            mask = self._mask(batch, partnered, "cross_modal")
            cross_modal = overwrite(batch, partnered, mask, fill)
        return BrainMVPViews(cross_modal, template, pairs if cross_modal else every)

    def _mask(self, batch: StudyBatch, rows: Tensor, purpose: str) -> Tensor:
        x, y, z = batch["image"].shape[2:]
        random = CountedRandom(batch["key"][rows])
        return self.masking.draw((x, y, z), random, "both" if self.same_mask else purpose)

    def _crop_templates(
        self, templates: ModalityTemplates, batch: StudyBatch, rows: Tensor
    ) -> Tensor:
        if self.template_of is None:
            raise RuntimeError("call BrainMVP.prepare with a description of the data first")
        x, y, z = batch["image"].shape[2:]
        indices = self.template_of[batch["modality"][rows]]
        capacity = batch.get("capacity")
        return templates.crop(indices, batch["origin"][rows], (x, y, z), capacity)

    def loss(self, backbone: Backbone, views: BrainMVPViews, step: StepInfo) -> LossTerms:
        """Run the backbone once on both views and score the result.

        Source:
            BrainMVP, equation 6: the shares make each term a mean over studies of the mean over
            their modalities, `weights` has the factors of the terms.
        """
        present = views.present()
        num_images = [len(view.image) for view in present]
        features = backbone(torch.cat([view.image for view in present]))
        levels = [level.split(num_images) for level in features]
        terms: dict[str, Tensor] = {}
        metrics = {"masked_share": masked_share(present)}
        images: dict[str, Tensor] = {}
        for term, head, view, place in (
            ("cross_modal", self.cross_modal, views.cross_modal, 0),
            ("distillation", self.distillation, views.template, -1),
        ):
            if head is not None and view is not None:
                prediction = head([level[place] for level in levels])
                terms[term] = head.loss(prediction, view.target, view.share, view.mask)
                if prediction.shape == view.target.shape:
                    images[term] = prediction.detach()
                    metrics[f"{term}_mse"] = reconstruction_error(prediction, view)
        if self.contrast is not None and views.cross_modal is not None:
            first, second = self.contrast(features).split(num_images)
            second = second.index_select(0, views.pairs)
            cross = views.cross_modal
            terms["contrast"] = self.contrast.loss(
                first, second, cross.share, capacity=cross.capacity
            )
            if isinstance(self.contrast, InfoNCEHead):
                metrics["negatives"] = self.contrast.num_negatives
        pictures = {} if step.is_training else pictures_of(views, images)
        return LossTerms(terms, metrics, pictures)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return a group for the templates, with options of their own, and one for the rest."""
        values = [] if self.templates is None else [self.templates.values]
        others = [p for p in self.parameters() if not any(p is value for value in values)]
        groups: list[dict[str, Any]] = [
            {
                "params": values,
                "lr": learning_rate * self.template_options.lr_scale,
                "weight_decay": self.template_options.weight_decay,
            },
            {"params": others},
        ]
        return [group for group in groups if group["params"]]

    def learned_templates(self) -> ModalityTemplates | None:
        """Return the templates."""
        return self.templates

    @torch.no_grad()
    def step_metrics(self) -> dict[str, Tensor]:
        """Return the statistics of each template, such as ``"t1/mean"``."""
        return {} if self.templates is None else self.templates.statistics()


def _with_stand_in(batch: StudyBatch) -> StudyBatch:
    """Make the first image its own partner, with no share in the loss.

    A batch of which no image has a partner would leave nothing to run, but networks want an image
    and distributed training a gradient for each parameter.
    """
    batch = batch.copy()
    batch["partner"] = batch["image"][:1]
    batch["partner_rows"] = torch.zeros(1, dtype=torch.int64, device=batch["image"].device)
    batch["weight"] = torch.zeros_like(batch["weight"])
    return batch


def _share_decoder(first: LossHead | None, second: LossHead | None) -> None:
    if not (isinstance(first, ReconstructionHead) and isinstance(second, ReconstructionHead)):
        return
    if type(first.decoder) is not type(second.decoder):
        raise ValueError(
            "cross_modal and distillation ask for different decoders and cannot share one; name "
            "the same decoder in both, or set share_decoder to false"
        )
    second.decoder = first.decoder


def _describe_missing(missing: list[str], known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(missing[0], known, n=2)
    question = f"; did you mean {' or '.join(close)}?" if close else ""
    return (
        f"the data have {', '.join(missing)}, for which there is no template{question} (templates: "
        f"{', '.join(known)}); add it to templates.modalities, or leave these scans out of the data"
    )
