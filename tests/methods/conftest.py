"""A network without batch statistics, and a batch of studies with one to three modalities."""

import pytest
import torch
from brainmvp_toy import TEMPLATES, Build
from torch import nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.batches import DataDescription, StepInfo, StudyBatch
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.brainmvp import BrainMVP


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    return UNET3D(1, widths=(8, 16), depths=(1, 1))


@pytest.fixture
def data() -> DataDescription:
    # Another order than the templates have, and a gap.
    return DataDescription(("t2", "t1", "adc"), (1.0, 2.0, 1.5), (3.0, -4.0, 5.0), (8, 8, 8))


@pytest.fixture
def batch() -> StudyBatch:
    """Rows 0, 2 and 3 have partners, row 1 is of a study with one modality."""
    generator = torch.Generator().manual_seed(1)
    return StudyBatch(
        image=torch.rand(4, 1, 8, 8, 8, generator=generator),
        modality=torch.tensor([1, 0, 2, 1]),
        partner=torch.rand(3, 1, 8, 8, 8, generator=generator),
        partner_rows=torch.tensor([0, 2, 3]),
        partner_modality=torch.tensor([0, 1, 0]),
        origin=torch.tensor([[-4, -4, -4], [0, 0, 0], [-8, -2, 1], [-3, -5, -4]]),
        key=torch.tensor([11, 22, 33, 44]),
        weight=torch.full((4,), 0.25),
        num_studies=4,
        study=["a", "b", "c", "d"],
        faults=[],
    )


@pytest.fixture
def training() -> StepInfo:
    return StepInfo(step=0, max_steps=10, epoch=0, max_epochs=10, is_training=True)


@pytest.fixture
def validation() -> StepInfo:
    return StepInfo(step=0, max_steps=10, epoch=0, max_epochs=10, is_training=False)


@pytest.fixture
def build(backbone: Backbone, data: DataDescription) -> Build:
    def build(removed: tuple[str, ...] = (), **options: object) -> BrainMVP:
        torch.manual_seed(0)
        options.update(dict.fromkeys(removed))
        options.setdefault("masking", GridBlocks(2, 0.75))
        options.setdefault("templates", TEMPLATES)
        method = BrainMVP(backbone, **options)  # type: ignore[arg-type]
        method.prepare(data)
        if method.templates is not None:
            nn.init.uniform_(method.templates.values)
        return method

    return build
