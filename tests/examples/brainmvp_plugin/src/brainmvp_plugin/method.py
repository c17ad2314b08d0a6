"""An SSL method: corrupts a batch, and scores what a backbone makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import DataDescription, StepInfo, StudyBatch
from brainmvp_lightning.heads.base import LossHead
from brainmvp_lightning.heads.reconstruction import ReconstructionHead
from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.methods.base import DataNeeds, LossTerms, SSLMethod
from brainmvp_lightning.randomness import CountedRandom

NUM_PICTURES = 4


@dataclass(frozen=True)
class Noisy:
    """The views of a batch; what they are is between `views` and `loss`."""

    image: Tensor
    target: Tensor
    mask: Tensor
    share: Tensor


class Denoising(SSLMethod):
    """Adds noise where the masking strategy says, and rebuilds the image.

    Args:
        backbone: Network to be trained.
        masking: Where noise is added.
        reconstruction: Head that rebuilds the image.
        edges: Head for a second prediction from the same features; null for none.
        sigma: Standard deviation of the noise, in units of the intensity range.

    Raises:
        ValueError: If `sigma` is not above 0.
    """

    # Parts inside a part are typed: an instance where it needs no backbone, else what builds it.
    def __init__(
        self,
        backbone: Backbone,
        *,
        masking: Masking,
        reconstruction: Callable[[Backbone], LossHead] = ReconstructionHead,
        edges: Callable[[Backbone], LossHead] | None = None,
        sigma: float = 0.3,
    ) -> None:
        super().__init__()
        if sigma <= 0:
            raise ValueError(f"denoising: sigma must be above 0, got {sigma}")
        self.masking = masking
        self.reconstruction = reconstruction(backbone)  # the backbone itself is not kept
        self.edges = edges(backbone) if edges else None
        self.sigma = sigma

    @property
    def needs(self) -> DataNeeds:
        """One modality of each study is enough."""
        return DataNeeds(min_modalities=1, needs_partner=False)

    def prepare(self, data: DataDescription) -> None:
        """Try the masking on the crop size, before any work.

        Raises:
            ValueError: If they do not suit each other.
        """
        self.masking.draw(data.crop_size, CountedRandom(torch.zeros(1, dtype=torch.int64)))

    def views(self, batch: StudyBatch, step: StepInfo) -> Noisy:
        """Add the noise; the same key gives the same noise, on any device."""
        del step
        target, random = batch["image"], CountedRandom(batch["key"])
        x, y, z = target.shape[2:]
        mask = self.masking.draw((x, y, z), random)
        uniform = random.uniform(x * y * z, "noise").clamp(min=2**-25)
        noise = self.sigma * torch.special.ndtri(uniform).view_as(target)  # normal
        return Noisy(torch.where(mask, target + noise, target), target, mask, batch["weight"])

    def loss(self, backbone: Backbone, views: Noisy, step: StepInfo) -> LossTerms:
        """Run the backbone once, and both heads on its features."""
        features = backbone(views.image)
        rebuilt = self.reconstruction(features)
        loss = self.reconstruction.loss
        terms = {"reconstruction": loss(rebuilt, views.target, views.share, views.mask)}
        pictures = {"input": views.target, "noisy": views.image, "rebuilt": rebuilt}
        if self.edges is not None:
            edges = self.edges(features)
            terms["edges"] = self.edges.loss(edges, views.target, views.share, views.mask)
            pictures["edges"] = edges
        metrics = {"noisy_share": views.mask.mean(dtype=torch.float32)}
        if step.is_training:
            return LossTerms(terms, metrics)
        drawn = {name: image[:NUM_PICTURES].detach() for name, image in pictures.items()}
        return LossTerms(terms, metrics, drawn)

    def weights(self, step: StepInfo) -> dict[str, float]:
        """Return the factor of each term; heads know their schedules."""
        weights = {"reconstruction": self.reconstruction.weight_at(step.epoch)}
        if self.edges is not None:
            weights["edges"] = self.edges.weight_at(step.epoch)
        return weights
