"""Reconstruction heads: shares, norms and regions."""

import pytest
import torch

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.heads.reconstruction import ReconstructionHead
from brainmvp_lightning.heads.registry import HEADS

PREDICTION = torch.tensor([[1.0, 0.0], [0.0, 0.5], [7.0, 7.0]]).view(3, 1, 2, 1, 1)
TARGET = torch.zeros(3, 1, 2, 1, 1)
MASK = torch.tensor([[True, False], [True, False], [True, True]]).view(3, 1, 2, 1, 1)
SHARE = torch.tensor([0.75, 0.25, 0.0])


def head(**options: object) -> ReconstructionHead:
    return ReconstructionHead(BACKBONES.get("uniformer_tiny")(1), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("norm", "region", "expected"),
    [
        ("l2", "all", 0.75 * 1 / 2 + 0.25 * 0.25 / 2),
        ("l1", "all", 0.75 * 1 / 2 + 0.25 * 0.5 / 2),
        ("l2", "masked", 0.75 * 1),
        ("l1", "masked", 0.75 * 1),
    ],
)
def test_loss_is_the_sum_of_shares_times_errors(norm: str, region: str, expected: float) -> None:
    loss = head(norm=norm, region=region).loss(PREDICTION, TARGET, SHARE, MASK)
    assert loss.item() == pytest.approx(expected)


def test_name_and_schedule() -> None:
    assert HEADS.implementation("reconstruction") is ReconstructionHead
    scheduled = head(weight=10.0, start_epoch=2, ramp_epochs=2)
    assert [scheduled.weight_at(epoch) for epoch in range(5)] == [0, 0, 5, 10, 10]


def test_masked_region_needs_a_mask() -> None:
    with pytest.raises(ValueError, match="needs the mask"):
        head(region="masked").loss(PREDICTION, TARGET, SHARE)


def test_decodes_the_coarsest_features_to_full_resolution() -> None:
    backbone = BACKBONES.get("uniformer_tiny")(1)
    coarsest = torch.randn(2, backbone.feature_channels[-1], 1, 2, 1)
    image = ReconstructionHead(backbone)([coarsest])
    assert image.shape == (2, 1, 8, 16, 8)
