"""Symmetric InfoNCE, worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional

from brainmvp_lightning.losses.contrastive import Candidates, candidates_of, symmetric_info_nce


def embeddings(num: int = 5, width: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, num, width, generator=generator, dtype=torch.float64)
    first, second = functional.normalize(both, dim=-1)
    return first.requires_grad_(), second.requires_grad_()


def test_identical_views_cost_the_entropy_of_a_guess() -> None:
    loss = symmetric_info_nce(torch.ones(4, 2), torch.ones(4, 2), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(4))


def test_value_of_two_samples_by_hand() -> None:
    # Similarities: row 0 with (a, b) = (1, 0), row 1 with (0.6, 0.8); temperature 0.5.
    first = torch.eye(2)
    second = torch.tensor([[1.0, 0.6], [0.0, 0.8]])
    forth = (math.log1p(math.exp((0 - 1) / 0.5)) + math.log1p(math.exp((0.6 - 0.8) / 0.5))) / 2
    back = (math.log1p(math.exp((0.6 - 1) / 0.5)) + math.log1p(math.exp((0 - 0.8) / 0.5))) / 2
    loss = symmetric_info_nce(first, second, temperature=0.5)
    assert loss.item() == pytest.approx((forth + back) / 2)


def test_equals_cross_entropy_in_both_directions() -> None:
    first, second = embeddings()
    logits = first @ second.T / 0.2
    place = torch.arange(5)
    expected = (
        functional.cross_entropy(logits, place) + functional.cross_entropy(logits.T, place)
    ) / 2
    assert symmetric_info_nce(first, second, 0.2).item() == pytest.approx(expected.item())
    assert symmetric_info_nce(second, first, 0.2).item() == pytest.approx(expected.item())


def test_perfect_pairs_cost_nothing_at_a_low_temperature() -> None:
    assert symmetric_info_nce(torch.eye(3), torch.eye(3), 0.01).item() == pytest.approx(0, abs=1e-6)


def test_shares_weigh_the_samples() -> None:
    first, second = embeddings()
    one_hot = torch.eye(5, dtype=torch.float64)
    counts = candidates_of(first, second, torch.ones(5), gather=False)
    each = [
        symmetric_info_nce(first, second, 0.2, share=row, candidates=counts).item()
        for row in one_hot
    ]
    share = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25], dtype=torch.float64)
    expected = sum(s * loss for s, loss in zip(share.tolist(), each, strict=True))
    assert symmetric_info_nce(first, second, 0.2, share=share).item() == pytest.approx(expected)


def test_samples_of_share_0_have_no_influence() -> None:
    first, second = embeddings()
    share = torch.tensor([0.25, 0.0, 0.25, 0.5, 0.0])
    kept = share > 0
    loss = symmetric_info_nce(first, second, 0.2, share=share)
    alone = symmetric_info_nce(first[kept], second[kept], 0.2, share=share[kept])
    assert loss.item() == pytest.approx(alone.item())
    gradients = torch.autograd.grad(loss, [first, second])
    expected = torch.autograd.grad(alone, [first, second])
    for gradient, reference in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient, reference)
        assert (gradient[~kept] == 0).all()


@pytest.mark.parametrize("num", [0, 1])
@pytest.mark.parametrize("num_padding", [0, 2])
def test_no_negatives_cost_nothing_and_keep_the_graph(num: int, num_padding: int) -> None:
    first, second = embeddings(num + num_padding)
    share = torch.tensor([1.0] * num + [0.0] * num_padding)
    candidates = candidates_of(first, second, share, gather=True)
    loss = symmetric_info_nce(first, second, 0.1, share=share, candidates=candidates)
    assert candidates.num_negatives() == 0
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, [first, second]):
        assert (gradient == 0).all()


def test_half_precision_is_scored_in_float32_even_under_autocast() -> None:
    first, second = (rows.detach().float() for rows in embeddings(width=64))
    expected = symmetric_info_nce(first, second, 0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = symmetric_info_nce(first, second, 0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert symmetric_info_nce(first.bfloat16(), second.bfloat16(), 0.05).dtype == torch.float32


@pytest.mark.parametrize("own", [slice(0, 2), slice(2, 5), slice(3, 3)])
def test_a_process_gets_its_own_value_and_the_gradient_of_all(own: slice) -> None:
    first, second = embeddings()
    share = torch.tensor([0.1, 0.2, 0.0, 0.15, 0.25], dtype=torch.float64)
    total = symmetric_info_nce(first, second, 0.2, share=share)
    expected = torch.autograd.grad(total, [first, second])
    others = Candidates(first.detach(), second.detach(), share, share > 0, own.start)
    loss = symmetric_info_nce(first[own], second[own], 0.2, share=share[own], candidates=others)
    own_share = torch.zeros_like(share)
    own_share[own] = share[own]
    value = symmetric_info_nce(first, second, 0.2, share=own_share, candidates=others)
    assert loss.item() == pytest.approx(value.item())
    for gradient, reference in zip(
        torch.autograd.grad(loss, [first, second]), expected, strict=True
    ):
        assert torch.allclose(gradient[own], reference[own], rtol=1e-12)
        assert gradient.count_nonzero() == gradient[own].count_nonzero()


def test_gradients_are_right() -> None:
    first, second = embeddings(4)
    share = torch.tensor([0.5, 0.2, 0.0, 0.3], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, b: symmetric_info_nce(a, b, 0.3, share=share), (first, second)
    )
