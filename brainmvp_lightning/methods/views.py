"""Images of which a part is overwritten, and what there is to log and to draw of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from brainmvp_lightning.batches import StudyBatch
from brainmvp_lightning.losses.reconstruction import mean_squared_error

NUM_PICTURES = 4


@dataclass(frozen=True)
class View:
    """Some images of a batch, each with a part overwritten."""

    image: Tensor
    """``n 1 x y z``."""
    target: Tensor
    """The images before, ``n 1 x y z``."""
    mask: Tensor
    """True where overwritten, ``n 1 x y z``."""
    fill: Tensor
    """What they are overwritten with, ``n 1 x y z``."""
    share: Tensor
    """Share of each image in the loss, ``n``."""
    capacity: int | None = None
    """Most images that any process can have, the same number on all of them; None: not known."""


@dataclass(frozen=True)
class BrainMVPViews:
    """Both views of a batch; one is missing where no term asks for it."""

    cross_modal: View | None
    template: View | None
    pairs: Tensor
    """Image of the template view for each image of the cross-modal view; all if that is missing."""

    def present(self) -> list[View]:
        """Return the views that were made, the cross-modal one first."""
        return [view for view in (self.cross_modal, self.template) if view is not None]


def overwrite(batch: StudyBatch, rows: Tensor, mask: Tensor, fill: Tensor) -> View:
    """Overwrite some images of a batch.

    Args:
        batch: Has the images.
        rows: Which of its images, ``n``.
        mask: True where to overwrite, ``n 1 x y z``.
        fill: What with, ``n 1 x y z``; gradients flow to it where it is seen.
    """
    target = batch["image"][rows]
    image = torch.where(mask, fill, target)
    return View(image, target, mask, fill, batch["weight"][rows], batch.get("capacity"))


@torch.no_grad()
def masked_share(views: list[View]) -> Tensor:
    """Return the measured share of overwritten voxels over all views, a scalar."""
    return torch.cat([view.mask.flatten() for view in views]).mean(dtype=torch.float32)


@torch.no_grad()
def reconstruction_error(prediction: Tensor, view: View) -> Tensor:
    """Return the mean squared error of the images that count, a scalar; 0 if none does."""
    errors = mean_squared_error(prediction, view.target)
    is_counted = view.share > 0
    return (errors * is_counted).sum() / is_counted.sum().clamp(min=1)


def pictures_of(views: BrainMVPViews, reconstructions: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return volumes to draw of the first few images that are in all views."""
    pictures: dict[str, Tensor] = {}
    if views.cross_modal is not None:
        pictures["input"] = views.cross_modal.target
        pictures["partner"] = views.cross_modal.fill
        pictures["cross_view"] = views.cross_modal.image
        if "cross_modal" in reconstructions:
            pictures["cross_reconstruction"] = reconstructions["cross_modal"]
    if views.template is not None:
        pairs = views.pairs[:NUM_PICTURES]
        pictures.setdefault("input", views.template.target[pairs])
        pictures["template"] = views.template.fill[pairs]
        pictures["template_view"] = views.template.image[pairs]
        if "distillation" in reconstructions:
            pictures["template_reconstruction"] = reconstructions["distillation"][pairs]
    pictures = {name: images[:NUM_PICTURES].detach() for name, images in pictures.items()}
    return {name: images for name, images in pictures.items() if len(images) > 0}
