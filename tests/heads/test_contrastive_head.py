"""Contrast heads: embeddings of length 1, in float32, pooled, flattened or projected."""

import math

import pytest
import torch

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.heads.contrastive import InfoNCEHead
from brainmvp_lightning.heads.registry import HEADS


@pytest.fixture
def backbone() -> Backbone:
    return BACKBONES.get("uniformer_tiny")(1)


def features(backbone: Backbone, num: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(num, backbone.feature_channels[-1], 2, 2, 2, generator=generator)]


@pytest.mark.parametrize(
    ("options", "width"),
    [({}, 128), ({"embedding": "flattened"}, 1024), ({"projector_width": 16}, 16)],
)
def test_embeddings_have_length_1(backbone: Backbone, options: dict, width: int) -> None:
    embedded = InfoNCEHead(backbone, **options)(features(backbone))
    assert embedded.shape == (3, width)
    assert torch.allclose(embedded.norm(dim=1), torch.ones(3))


def test_pooled_embeddings_are_the_mean_of_the_map(backbone: Backbone) -> None:
    maps = features(backbone)
    pooled = maps[-1].flatten(2).mean(dim=2)
    assert torch.allclose(InfoNCEHead(backbone)(maps), pooled / pooled.norm(dim=1, keepdim=True))


def test_loss_and_negatives_of_identical_embeddings(backbone: Backbone) -> None:
    head = InfoNCEHead(backbone, temperature=1.0)
    same = torch.ones(5, 4) / 2
    share = torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0])
    assert head.loss(same, same, share).item() == pytest.approx(math.log(4))
    assert head.num_negatives == 3


def test_embeddings_are_float32_under_autocast(backbone: Backbone) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedded = InfoNCEHead(backbone, projector_width=8)(features(backbone))
    assert embedded.dtype == torch.float32


def test_a_feature_map_of_zeros_has_finite_gradients(backbone: Backbone) -> None:
    maps = torch.zeros(2, 256, 2, 2, 2, requires_grad=True)
    head = InfoNCEHead(backbone)
    embedded = head([maps])
    head.loss(embedded, embedded, torch.ones(2) / 2).backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_name_and_wrong_options(backbone: Backbone) -> None:
    assert HEADS.implementation("info_nce") is InfoNCEHead
    with pytest.raises(ValueError, match="temperature must be above 0"):
        InfoNCEHead(backbone, temperature=0.0)
    with pytest.raises(ValueError, match="use embedding 'pooled'"):
        InfoNCEHead(backbone, embedding="flattened", projector_width=8)
