"""What tests of BrainMVP share: a small method, and a step with it."""

from collections.abc import Callable

import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import StepInfo, StudyBatch
from brainmvp_lightning.methods.base import LossTerms
from brainmvp_lightning.methods.brainmvp import BrainMVP, BrainMVPViews
from brainmvp_lightning.methods.templates import TemplateOptions

TEMPLATES = TemplateOptions(modalities=("t1", "t2", "flair", "adc"), shape=(16, 16, 16))
T1, T2, FLAIR, ADC = range(4)
TERMS = ("cross_modal", "distillation", "contrast")

Build = Callable[..., BrainMVP]
"""Builds the method without some terms: ``build(("contrast",), share_decoder=False)``."""


def run(
    method: BrainMVP, backbone: Backbone, batch: StudyBatch, step: StepInfo
) -> tuple[BrainMVPViews, LossTerms, Tensor]:
    """Return the views, the terms, and their weighted sum."""
    views = method.views(batch, step)
    terms = method.loss(backbone, views, step)
    weights = method.weights(step)
    total = torch.stack([weights[name] * term for name, term in terms.terms.items()]).sum()
    return views, terms, total
