"""Our ways to convolve are torch's convolutions."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.backbones.depthwise import DepthwiseConv3d, depthwise_conv3d
from brainmvp_lightning.backbones.pointwise import PointwiseConv3d

LAST = torch.channels_last_3d
SHAPES = [(2, 3, 5, 6, 7), (1, 8, 4, 4, 4), (3, 2, 2, 3, 2), (2, 4, 1, 1, 1), (1, 1, 6, 5, 4)]


def inputs(
    shape: tuple[int, ...], edge: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    weight = torch.randn(shape[1], 1, edge, edge, edge, generator=generator, dtype=dtype)
    bias = torch.randn(shape[1], generator=generator, dtype=dtype)
    x, gradient = (part.contiguous(memory_format=LAST) for part in (x, gradient))
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), gradient


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.conv3d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))


@pytest.mark.parametrize("edge", [3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_depthwise_gradients_are_torchs(shape: tuple[int, ...], edge: int) -> None:
    x, weight, bias, gradient = inputs(shape, edge)
    expected, found = plain(x, weight, bias), depthwise_conv3d(x, weight, bias)
    assert torch.equal(found, expected)
    wanted = torch.autograd.grad(expected, (x, weight, bias), gradient)
    got = torch.autograd.grad(found, (x, weight, bias), gradient)
    for ours, theirs, name in zip(got, wanted, ("input", "weight", "bias"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10, msg=name)


def test_depthwise_gradients_in_single_precision_are_as_exact_as_torchs() -> None:
    shape = (2, 16, 12, 12, 12)
    x, weight, bias, gradient = inputs(shape, 5)
    exact = torch.autograd.grad(plain(x, weight, bias), (x, weight, bias), gradient)
    single = [part.detach().float() for part in (x, weight, bias, gradient)]
    small = [part.requires_grad_() for part in single[:3]]
    small[0] = single[0].contiguous(memory_format=LAST).requires_grad_()
    theirs = torch.autograd.grad(plain(*small), small, single[3])
    ours = torch.autograd.grad(depthwise_conv3d(*small), small, single[3])
    for found, other, truth in zip(ours, theirs, exact, strict=True):
        error, usual = ((part - truth).norm() / truth.norm() for part in (found, other))
        assert error < max(2 * usual, 1e-6)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False)])
def test_only_gradients_that_are_wanted_are_made(wanted: tuple[bool, ...]) -> None:
    x, weight, bias, gradient = inputs((2, 3, 4, 4, 4), 3)
    parts = [
        part.detach().requires_grad_(is_wanted)
        for part, is_wanted in zip((x, weight, bias), wanted, strict=True)
    ]
    depthwise_conv3d(*parts).backward(gradient)
    assert [part.grad is not None for part in parts] == list(wanted)


def run(layer: nn.Module, x: Tensor, *, bfloat16: bool) -> list[Tensor]:
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", enabled=bfloat16):
        answer = layer(x)
    assert answer.dtype == (torch.bfloat16 if bfloat16 else torch.float32)
    answer.float().square().sum().backward()
    assert x.grad is not None
    return [answer.float(), x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("kind", ["depthwise 3", "depthwise 5", "pointwise"])
def test_layers_are_torchs_with_and_without_autocast(kind: str, bfloat16: bool) -> None:
    torch.manual_seed(0)
    if kind == "pointwise":
        ours: nn.Conv3d = PointwiseConv3d(6, 4)
        theirs = nn.Conv3d(6, 4, 1)
    else:
        edge = int(kind[-1])
        ours = DepthwiseConv3d(6, edge)
        theirs = nn.Conv3d(6, 6, edge, padding=edge // 2, groups=6)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    x = torch.randn(2, 6, 6, 5, 4).contiguous(memory_format=LAST)
    expected, found = (run(layer, x, bfloat16=bfloat16) for layer in (theirs, ours))
    assert len(expected) == len(found) == 4
    for ours_, theirs_ in zip(found, expected, strict=True):
        scale = theirs_.abs().max().item()
        assert (ours_ - theirs_).abs().max() < (2e-2 if bfloat16 else 1e-5) * scale


def test_one_output_channel_keeps_its_shape() -> None:
    layer = PointwiseConv3d(4, 1)
    x = torch.randn(2, 4, 3, 5, 2).contiguous(memory_format=LAST)
    expected = functional.conv3d(x, layer.weight, layer.bias)
    assert layer(x).shape == expected.shape == (2, 1, 3, 5, 2)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_layout_is_kept(layout: torch.memory_format) -> None:
    x = torch.randn(2, 4, 3, 5, 2).contiguous(memory_format=layout)
    for layer in (PointwiseConv3d(4, 6), DepthwiseConv3d(4, 3)):
        assert layer(x).is_contiguous(memory_format=layout)
