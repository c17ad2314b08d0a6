"""What a step is run on in the benchmark of a step: its sizes, and what is drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from published_step import Places
from torch import Tensor

from brainmvp_lightning.batches import StudyBatch
from brainmvp_lightning.methods.templates import PUBLISHED_MODALITIES, Rescale, Update
from brainmvp_lightning.randomness import CountedRandom

BLOCK_SIZE, RATIO = 8, 0.875  # section 3.1

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Case:
    """One way to run a step.

    Attributes:
        network: Registered name of a UniFormer.
        batch: Samples of a step, each seen in two views.
        size: Edge of a crop in voxels.
        shape: Voxels of a template.
        rescale: How templates become images, in both rivals (published: ``"minmax"``).
        update: How our templates learn, see `TemplateOptions`.
        precision: Of our step; the published step is ``"fp32"``.
        compile: Whether our network is compiled.
        checkpointing: Whether our network makes activations again in the backward pass.
        device: ``"cpu"`` or ``"cuda"``.
    """

    network: str = "uniformer_small"
    batch: int = 1
    size: int = 96
    shape: tuple[int, int, int] = (240, 240, 155)
    rescale: Rescale = "minmax"
    update: Update = "auto"
    precision: Precision = "fp32"
    compile: bool = False
    checkpointing: bool = False
    device: str = "cpu"

    @property
    def num_crop_voxels(self) -> int:
        """Voxels of all crops of one view."""
        return self.batch * self.size**3

    def draw(self) -> tuple[StudyBatch, Places]:
        """Return random images, and where they and their masks are, the same in every call."""
        generator = torch.Generator().manual_seed(0)

        def below(high: int) -> Tensor:
            return torch.randint(high, (self.batch,), generator=generator)

        crops = torch.rand(2, self.batch, 1, *[self.size] * 3, generator=generator)
        modality = below(len(PUBLISHED_MODALITIES))
        corners = torch.stack([below(side - self.size + 1) for side in self.shape], dim=1)
        reference = torch.tensor([side // 2 for side in self.shape])
        keys = torch.arange(self.batch, device=self.device)
        batch: StudyBatch = {
            "image": crops[0].to(self.device),
            "partner": crops[1].to(self.device),
            "partner_rows": keys,
            "modality": modality.to(self.device),
            "partner_modality": modality.to(self.device),
            "origin": (corners - reference).to(self.device),
            "key": keys,
            "weight": torch.full((self.batch,), 1 / self.batch, device=self.device),
            "num_studies": self.batch,
            "capacity": self.batch,  # as from a loader
            "study": [f"study-{row}" for row in range(self.batch)],
            "faults": [],
        }
        num_blocks = (self.size // BLOCK_SIZE) ** 3
        # As in `GridBlocks.draw`, so that both rivals hide the same blocks.
        first, second = (
            CountedRandom(keys).uniform(num_blocks, view).argsort(dim=1, stable=True)
            for view in ("cross_modal", "template")
        )
        return batch, Places((first, second), modality.tolist(), corners.tolist())
