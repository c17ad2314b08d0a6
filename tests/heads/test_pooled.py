"""PooledClassifier: mean of the coarsest level, dropout, linear layer."""

import pytest
import torch

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.heads.pooled import PooledClassifier

BACKBONE = BACKBONES.get("uniformer_tiny")(1)
WIDTH = BACKBONE.feature_channels[-1]
IMAGE = torch.zeros(2, 1, 16, 16, 16)


def test_logits_are_linear_in_the_mean_of_the_last_level() -> None:
    head = PooledClassifier(BACKBONE, 2)
    with torch.no_grad():
        head.out.weight.copy_(torch.stack([torch.ones(WIDTH), torch.zeros(WIDTH)]))
        head.out.bias.copy_(torch.tensor([0.5, -1.0]))
    last = torch.zeros(2, WIDTH, 2, 2, 2)
    last[0, 3, 0, 1, 0] = 8.0  # mean 1
    (logits,) = head(IMAGE, [torch.full((2, 3, 8, 8, 8), 9.0), last])
    assert logits.tolist() == [[1.5, -1.0], [0.5, -1.0]]


def test_the_mean_is_taken_in_float32() -> None:
    # In bfloat16, 1 is lost beside 256.
    last = torch.ones(1, WIDTH, 1, 1, 513, dtype=torch.bfloat16)
    last[..., 0] = 256
    head = PooledClassifier(BACKBONE, 1)
    with torch.no_grad():
        head.out.weight.fill_(1 / WIDTH)
    assert head(IMAGE, [last])[0].item() == pytest.approx(768 / 513, rel=1e-5)


def test_first_predictions_are_undecided() -> None:
    torch.manual_seed(0)
    head = PooledClassifier(BACKBONE, 4)
    probabilities = head(IMAGE, [torch.rand(2, WIDTH, 2, 2, 2)])[0].softmax(dim=1)
    assert (probabilities - 0.25).abs().max() < 0.1


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head = PooledClassifier(BACKBONE, 2, dropout=0.5)
    features = [torch.rand(2, WIDTH, 2, 2, 2)]
    assert not torch.equal(head(IMAGE, features)[0], head(IMAGE, features)[0])
    head.eval()
    assert torch.equal(head(IMAGE, features)[0], head(IMAGE, features)[0])


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_an_impossible_dropout_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match=r"chance in \[0, 1\)"):
        PooledClassifier(BACKBONE, 2, dropout=dropout)
